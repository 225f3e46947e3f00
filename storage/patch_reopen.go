package storage

import (
	"errors"
	"fmt"

	"weed/internal/blob"
)

// DamagedWhenOpened reports whether CauseDamaged tells of nothing but what was found when the volume was opened. Once
// that is mended, Reopen judges anew.
func (v *Volume) DamagedWhenOpened() bool { return v.damagedAtOpen && !v.failedSince.Load() }

// Reopen closes a volume that is DamagedWhenOpened and opens it again, so that it is judged, and its index made, by
// the bytes that are there now. Who uses it meanwhile gets ErrClosed. On an error other than ErrNoVolume, which
// says that there is no such volume, the volume is not there any more until the next OpenStore.
func (s *Store) Reopen(id blob.VolumeID) (*Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := (*s.volumes.Load())[id]
	if s.closed || !ok || !p.DamagedWhenOpened() {
		return nil, fmt.Errorf("reopen volume %d: %w", id, ErrNoVolume)
	}
	closeErr := p.Close()
	v, err := openVolume(s.fs, s.dirs[p.dir].Path, id, p.collection, s.cfg)
	s.replace(func(m map[blob.VolumeID]*placedVolume) {
		if err != nil {
			delete(m, id)
			return
		}
		m[id] = s.place(v, p.dir)
	})
	if err != nil {
		return nil, errors.Join(err, closeErr)
	}
	if closeErr != nil {
		s.cfg.Logger.Error("volume did not close well before it was opened again", "volume", id, "error", closeErr)
	}
	return v, nil
}
