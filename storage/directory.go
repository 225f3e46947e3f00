package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// openDirectories makes and locks the directories.
func (s *Store) openDirectories(dirs []Directory) error {
	if len(dirs) == 0 {
		return errors.New("no directory for volumes is given")
	}
	for _, d := range dirs {
		if err := makeDirectory(s.fs, d.Path); err != nil {
			return fmt.Errorf("directory %s can't be made: %w", d.Path, err)
		}
		lock, err := s.fs.Lock(path.Join(d.Path, lockName))
		if errors.Is(err, vfs.ErrLocked) {
			return fmt.Errorf("directory %s is in use by another process: stop it or choose another directory: %w", d.Path, err)
		}
		if err != nil {
			return fmt.Errorf("directory %s can't be written: %w", d.Path, err)
		}
		s.dirs = append(s.dirs, &directory{Directory: d, lock: lock})
	}
	return nil
}

// makeDirectory makes a directory and those above it durably: what is in it can't outlive its name.
func makeDirectory(fsys vfs.FS, name string) error {
	parents := []string{path.Dir(name)} // always: the one who made it may have had no time to sync
	made := false
	for at := name; ; at = path.Dir(at) {
		if _, err := fsys.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = true
		parents = append(parents, path.Dir(at))
	}
	if err := fsys.MkdirAll(name, 0o755); err != nil {
		return err
	}
	for _, parent := range slices.Compact(parents) {
		if err := fsys.SyncDir(parent); err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
			return err
		}
	}
	return nil
}

// foundVolume is a `.dat` file.
type foundVolume struct {
	dir        int
	id         blob.VolumeID
	collection string
}

// findVolumes lists the volumes of all directories. Of those with the same id the one in the first
// directory counts, and there the one that is first by name; the others are not touched.
func (s *Store) findVolumes() ([]foundVolume, error) {
	var found []foundVolume
	seen := map[blob.VolumeID]string{}
	for i, d := range s.dirs {
		if err := s.settleSwaps(d.Path); err != nil {
			return nil, err
		}
		entries, err := s.fs.ReadDir(d.Path)
		if err != nil {
			return nil, fmt.Errorf("directory %s can't be listed: %w", d.Path, err)
		}
		for _, entry := range entries {
			base, ok := strings.CutSuffix(entry.Name(), ".dat")
			if !ok || entry.IsDir() {
				continue
			}
			name := path.Join(d.Path, entry.Name())
			collection, id, err := blob.ParseVolumeFileName(base)
			if err != nil {
				s.cfg.Logger.Warn("file is not a volume's and is left alone", "file", name)
				continue
			}
			if first, twice := seen[id]; twice {
				s.cfg.Logger.Error("volume is here twice: only the first is served", "volume", id, "served", first, "ignored", name)
				continue
			}
			seen[id] = name
			found = append(found, foundVolume{i, id, collection})
		}
	}
	return found, nil
}

// settleSwaps completes what is left of swaps of volumes' files in a directory. What a backup has left that did not come
// so far may be gone on with, and stays.
func (s *Store) settleSwaps(dir string) error {
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("directory %s can't be listed: %w", dir, err)
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		base, ok := strings.CutSuffix(name, swapExtension)
		if !ok {
			continue
		}
		if err := finishSwap(s.fs, base); err != nil {
			s.cfg.Logger.Error("what is left of a backup can't be settled", "file", name, "error", err)
		}
	}
	return nil
}

// openVolumes opens all volumes, a few at a time: loading is bound by the processor.
func (s *Store) openVolumes(found []foundVolume) {
	volumes := map[blob.VolumeID]*placedVolume{}
	var mu sync.Mutex // guards volumes
	var group errgroup.Group
	group.SetLimit(4)
	for _, f := range found {
		group.Go(func() error {
			v, err := openVolume(s.fs, s.dirs[f.dir].Path, f.id, f.collection, s.cfg)
			if err != nil {
				s.cfg.Logger.Error("volume can't be opened and is left alone", "volume", f.id, "error", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			volumes[f.id] = s.place(v, f.dir)
			return nil
		})
	}
	_ = group.Wait() // its functions return no errors
	s.volumes.Store(&volumes)
}
