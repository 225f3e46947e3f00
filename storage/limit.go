package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
)

// limitName is the file in each directory that carries the size limit over a restart.
const limitName = ".weed.limit"

// limitVersion is the layout of that file.
const limitVersion = 1

type limitFile struct {
	Version        int   `json:"version"`
	SizeLimitBytes int64 `json:"sizeLimitBytes"`
}

// SizeLimitBytes returns the limit that was set last, in this process or an earlier one; 0 for none.
func (s *Store) SizeLimitBytes() int64 { return s.sizeLimitBytes.Load() }

// SetSizeLimit makes volumes whose logs have so many bytes, or more, refuse puts with CauseFull; one that grows to
// that does so two seconds later, when the fids on their way have arrived. 0 takes the limit away. It holds at
// once, and from the first put after a restart on; the error is that of writing it down.
func (s *Store) SetSizeLimit(bytes int64) error {
	if s.sizeLimitBytes.Load() == bytes {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.sizeLimitBytes.Store(bytes)
	text, err := json.Marshal(limitFile{limitVersion, bytes})
	for _, d := range s.dirs {
		err = errors.Join(err, writeFileAtomic(s.fs, path.Join(d.Path, limitName), append(text, '\n')))
	}
	if err != nil {
		return fmt.Errorf("write down the size limit of volumes: %w", diskError(err))
	}
	return nil
}

// loadSizeLimit takes up the limit that an earlier process was told. The directories have the same one unless
// a disk failed or was put in; masters set it right then.
func (s *Store) loadSizeLimit() {
	for _, d := range s.dirs {
		var f limitFile
		name := path.Join(d.Path, limitName)
		ok, err := readJSON(s.fs, name, &f)
		if err == nil && ok && (f.Version != limitVersion || f.SizeLimitBytes < 0) {
			err = &CorruptError{name, 0, "no size limit of this version"}
		}
		if err != nil {
			s.cfg.Logger.Warn("size limit of volumes is not known until a master says it", "error", err)
			continue
		}
		if ok {
			s.sizeLimitBytes.Store(f.SizeLimitBytes)
			return
		}
	}
}
