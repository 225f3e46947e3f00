package storage

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// Directory is a place for volumes.
type Directory struct {
	Path string
	// MaxVolumes is the number of volumes that it may hold; 0 derives it from the room on the disk.
	MaxVolumes int
}

// DirectoryStatus is what a directory tells of itself.
type DirectoryStatus struct {
	Path       string
	MaxVolumes int
	Volumes    int
	Usage      vfs.Usage
}

// lockName is the file that keeps two processes from opening one directory.
const lockName = ".weed.lock"

// Store is the set of volumes in a server's directories.
type Store struct {
	fs   vfs.FS
	cfg  Config
	dirs []*directory

	mu      sync.Mutex // guards changes of the set of volumes
	closed  bool
	volumes atomic.Pointer[map[blob.VolumeID]*placedVolume] // replaced, never changed

	sizeLimitBytes atomic.Int64 // see SetSizeLimit

	compacting sync.Mutex // held by Compact

	spaceMu sync.Mutex // held by CheckSpace

	stopSync chan struct{}
	syncDone chan struct{}
}

type directory struct {
	Directory
	lock io.Closer
	// roomAt is the number of free bytes at which the disk, which had no room for an append, has room again; 0 if it
	// has.
	roomAt atomic.Uint64
}

type placedVolume struct {
	*Volume
	dir int
}

// place takes a volume in, before anyone else knows it.
func (s *Store) place(v *Volume, dir int) *placedVolume {
	v.readOnly.bound(&v.stats.length, &s.sizeLimitBytes)
	return &placedVolume{v, dir}
}

// OpenStore creates missing directories, locks them, and opens every volume in them. Volumes that can't be
// opened are reported to the logger and left alone. A directory that can't be used is an error.
func OpenStore(fsys vfs.FS, dirs []Directory, cfg Config) (*Store, error) {
	s := &Store{fs: fsys, cfg: cfg.withDefaults(), stopSync: make(chan struct{}), syncDone: make(chan struct{})}
	s.volumes.Store(&map[blob.VolumeID]*placedVolume{})
	err := s.openDirectories(dirs)
	var found []foundVolume
	if err == nil {
		found, err = s.findVolumes()
	}
	if err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	s.loadSizeLimit()
	s.openVolumes(found)
	s.CheckSpace() // before the first put
	go s.syncLoop()
	return s, nil
}

// Volume finds an open volume. It takes no lock.
func (s *Store) Volume(id blob.VolumeID) (*Volume, bool) {
	p, ok := (*s.volumes.Load())[id]
	if !ok {
		return nil, false
	}
	return p.Volume, true
}

// PlacedStatus is a volume's status and the ordinal of its directory.
type PlacedStatus struct {
	VolumeStatus
	Directory int
}

// Volumes returns the status of every volume in the order of their ids.
func (s *Store) Volumes() []PlacedStatus {
	volumes := *s.volumes.Load()
	all := make([]PlacedStatus, 0, len(volumes))
	for _, p := range volumes {
		all = append(all, PlacedStatus{p.Status(), p.dir})
	}
	slices.SortFunc(all, func(a, b PlacedStatus) int { return int(int64(a.ID) - int64(b.ID)) })
	return all
}

// Create makes a new, empty volume in the directory with the most free slots among those with room. Errors:
// ErrVolumeExists, ErrNoSlot, ErrNoSpace, ErrClosed, or the disk's.
func (s *Store) Create(id blob.VolumeID, collection string, placement blob.Placement, ttl blob.TTL) (*Volume, error) {
	return s.CreateCopy(id, collection, placement, ttl, 0)
}

// CreateCopy is Create for a volume that is to get the log of another copy, which was compacted so often.
func (s *Store) CreateCopy(id blob.VolumeID, collection string, placement blob.Placement, ttl blob.TTL, revision uint16) (*Volume, error) {
	if err := blob.CheckCollection(collection); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if _, ok := s.Volume(id); ok {
		return nil, fmt.Errorf("volume %d: %w", id, ErrVolumeExists)
	}
	i, err := s.roomiest()
	if err != nil {
		return nil, err
	}
	super := Superblock{Version: CurrentVersion, Placement: placement, TTL: ttl, Revision: revision}
	v, err := createVolume(s.fs, s.dirs[i].Path, id, collection, super, s.cfg)
	if err != nil {
		return nil, err
	}
	s.replace(func(m map[blob.VolumeID]*placedVolume) { m[id] = s.place(v, i) })
	return v, nil
}

// Delete closes a volume and removes its files. collection must be the volume's: an order meant for
// another volume of that id does nothing but fail with ErrNoVolume.
func (s *Store) Delete(id blob.VolumeID, collection string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.Volume(id)
	if !ok || v.collection != collection {
		return fmt.Errorf("volume %d of collection %q: %w", id, collection, ErrNoVolume)
	}
	s.replace(func(m map[blob.VolumeID]*placedVolume) { delete(m, id) })
	return v.remove()
}

// replace publishes a changed copy of the set. s.mu is held.
func (s *Store) replace(change func(map[blob.VolumeID]*placedVolume)) {
	old := *s.volumes.Load()
	next := make(map[blob.VolumeID]*placedVolume, len(old)+1)
	for id, p := range old {
		next[id] = p
	}
	change(next)
	s.volumes.Store(&next)
}

// roomiest returns the ordinal of the directory with room and the most free slots: ErrNoSlot if none has a slot,
// ErrNoSpace if none of those that have one has room. s.mu is held.
func (s *Store) roomiest() (int, error) {
	best, bestFree, err := -1, 0, ErrNoSlot
	for i, d := range s.Directories() {
		free := d.MaxVolumes - d.Volumes
		switch {
		case free <= bestFree:
		case s.low(d.Usage) || s.dirs[i].roomAt.Load() > 0:
			err = fmt.Errorf("%w: %s is below the free room that is kept", ErrNoSpace, d.Path)
		default:
			best, bestFree = i, free
		}
	}
	if best < 0 {
		return best, err
	}
	return best, nil
}

// low reports whether a disk has less room left than it must keep, or none.
func (s *Store) low(u vfs.Usage) bool {
	return u.TotalBytes > 0 && (u.FreeBytes == 0 || float64(u.FreeBytes)*100 < s.cfg.MinFreePercent*float64(u.TotalBytes))
}

// Directories returns the status of every directory. Where MaxVolumes was given as 0, it is what the free
// room can take in volumes of the size limit, and the volumes that are there; while there is no limit, that
// is the 30 GB that masters have by default.
func (s *Store) Directories() []DirectoryStatus {
	volumeBytes := uint64(s.sizeLimitBytes.Load())
	if volumeBytes == 0 {
		volumeBytes = 30000 << 20
	}
	all := make([]DirectoryStatus, len(s.dirs))
	for i, d := range s.dirs {
		all[i] = DirectoryStatus{Path: d.Path, MaxVolumes: d.MaxVolumes}
		usage, err := s.fs.Usage(d.Path)
		if err != nil {
			s.cfg.Logger.Error("free room of a directory can't be told", "directory", d.Path, "error", err)
		}
		all[i].Usage = usage
	}
	for _, p := range *s.volumes.Load() {
		all[p.dir].Volumes++
	}
	for i := range all {
		if s.dirs[i].MaxVolumes == 0 {
			all[i].MaxVolumes = all[i].Volumes + int(all[i].Usage.FreeBytes/volumeBytes)
		}
	}
	return all
}

// CheckSpace marks the volumes of every directory whose disk has less than Config.MinFreePercent of its room
// left, or none, or had none for an append, and clears the mark where there is room again. It tells whether that
// changed anything. A server calls it again and again.
func (s *Store) CheckSpace() (changed bool) {
	s.spaceMu.Lock()
	defer s.spaceMu.Unlock()
	directories := s.Directories()
	for i := range s.dirs {
		s.dirs[i].checkRoom(directories[i].Usage, s.noRoom(i))
	}
	for _, p := range *s.volumes.Load() {
		usage := directories[p.dir].Usage
		low := s.low(usage) || s.dirs[p.dir].roomAt.Load() > 0
		if usage.TotalBytes == 0 || low == (p.readOnly.load()&CauseNoSpace != 0) {
			continue
		}
		changed = true
		if err := p.SetReadOnly(CauseNoSpace, low); err != nil {
			s.cfg.Logger.Error("volume can't be marked", "volume", p.id, "error", err)
		}
	}
	return changed
}

// noRoom returns how much room a disk had when an append to a volume of a directory has found too little since the last
// call: the most, if several have; nil if none has.
func (s *Store) noRoom(dir int) (most *vfs.Usage) {
	for _, p := range *s.volumes.Load() {
		if p.dir != dir {
			continue
		}
		if u := p.Volume.noRoom.Swap(nil); u != nil && (most == nil || u.FreeBytes > most.FreeBytes) {
			most = u
		}
	}
	return most
}

// checkRoom takes note of an append that found no room, and how much there was then, nil for none. The disk counts as
// full until clearly more of it is free: what is left may be enough for one blob and not for the next.
func (d *directory) checkRoom(usage vfs.Usage, noRoom *vfs.Usage) {
	const least = 1 << 20
	if usage.TotalBytes == 0 {
		return
	}
	if noRoom != nil {
		d.roomAt.Store(noRoom.FreeBytes + max(least, usage.TotalBytes>>10))
	}
	if usage.FreeBytes >= d.roomAt.Load() {
		d.roomAt.Store(0)
	}
}

// syncLoop serves SyncInterval.
func (s *Store) syncLoop() {
	defer close(s.syncDone)
	if s.cfg.Sync != SyncInterval {
		return
	}
	ticker := time.NewTicker(s.cfg.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stopSync:
			return
		case <-ticker.C:
		}
		for _, p := range *s.volumes.Load() {
			if err := p.Sync(); err != nil {
				s.cfg.Logger.Error("volume can't be synced", "error", err)
			}
		}
	}
}

// Close closes every volume and releases the directories. It is idempotent.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.stopSync)
	<-s.syncDone
	var mu sync.Mutex // guards errs
	var errs []error
	var group errgroup.Group
	group.SetLimit(16)
	for _, p := range *s.volumes.Load() {
		group.Go(func() error {
			if err := p.Close(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("close volume %d: %w", p.id, err))
			}
			return nil
		})
	}
	_ = group.Wait()    // its functions return no errors
	s.compacting.Lock() // until one that was under way has removed its files
	defer s.compacting.Unlock()
	errs = append(errs, s.unlock())
	return errors.Join(errs...)
}

func (s *Store) unlock() error {
	var errs []error
	for _, d := range s.dirs {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}
