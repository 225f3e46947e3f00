package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// Volume is one log with its index. All methods may be called concurrently.
type Volume struct {
	id         blob.VolumeID
	collection string
	base       string // path of the files without extension
	fs         vfs.FS
	cfg        Config
	superblock Superblock              // as it was at the open: the revision is that of Origin
	content    atomic.Pointer[content] // replaced when the log is cut below what was published, compacted, or reset
	compacting atomic.Bool
	reindexed  atomic.Uint64 // how often the index was corrected
	resets     atomic.Uint64 // calls of Log.Reset that may have taken blobs away
	committer  *committer
	sums       atomic.Pointer[sums] // of the log and its index file
	readOnly   causes
	foreign    bool                      // made by another program
	noRoom     atomic.Pointer[vfs.Usage] // of the disk when it had no room for an append, which Store.CheckSpace has not seen yet

	damagedAtOpen bool        // CauseDamaged was set while the volume was opened
	failedSince   atomic.Bool // the disk has given cause for CauseDamaged since

	stats struct {
		length         atomic.Int64 // committed bytes of the log's file
		logLength      atomic.Int64 // the same as a log offset
		deletedCount   atomic.Uint64
		deletedBytes   atomic.Uint64
		expiredBytes   atomic.Uint64 // that the last scrub has met
		modifiedAtUnix atomic.Int64
	}

	metaMu     sync.Mutex // guards meta, metaClosed, and writes of the .meta file
	meta       meta
	metaClosed bool // the file is not written any more

	successorMu sync.Mutex // guards successor, and the names of its files, but for those that are decided
	successor   *successor // whose files have the names

	closeOnce sync.Once
	closeErr  error
}

// content is a log with the index whose offsets are its own: a reader takes both from one content, and may go on with
// that when the volume has another one. Only the committer and recovery replace it.
type content struct {
	dat      vfs.File
	index    *index.Map
	origin   Origin
	verified *verifiedSet // of the log's large blobs
}

func newContent(dat vfs.File, m *index.Map, o Origin) *content {
	return &content{dat: dat, index: m, origin: o, verified: new(verifiedSet)}
}

func (v *Volume) dat() vfs.File { return v.content.Load().dat }

func (v *Volume) index() *index.Map { return v.content.Load().index }

// VolumeStatus is what a volume tells of itself.
type VolumeStatus struct {
	ID           blob.VolumeID
	Collection   string
	Placement    blob.Placement
	TTL          blob.TTL
	Version      Version
	Revision     uint16
	SizeBytes    int64 // committed length of the log's file
	Live         int   // needles that can be read
	DeletedCount uint64
	DeletedBytes uint64
	ModifiedAt   time.Time // of the last append, zero if unknown
	MaxKey       blob.Key
	ReadOnly     ReadOnlyCause
	IndexBytes   int64 // memory that the index takes
}

// ID returns the volume's id.
func (v *Volume) ID() blob.VolumeID { return v.id }

// Collection returns the collection's name, "" for the default one.
func (v *Volume) Collection() string { return v.collection }

// Placement returns how many copies the volume is to have, and where.
func (v *Volume) Placement() blob.Placement { return v.superblock.Placement }

// SizeBytes returns the committed length of the log's file; see LogLength.
func (v *Volume) SizeBytes() int64 { return v.stats.length.Load() }

// TTL returns the volume's time to live.
func (v *Volume) TTL() blob.TTL { return v.superblock.TTL }

// Status returns a snapshot of the volume's figures.
func (v *Volume) Status() VolumeStatus {
	s := VolumeStatus{
		ID:           v.id,
		Collection:   v.collection,
		Placement:    v.superblock.Placement,
		TTL:          v.superblock.TTL,
		Version:      v.superblock.Version,
		Revision:     v.Revision(),
		SizeBytes:    v.stats.length.Load(),
		Live:         v.index().Len(),
		DeletedCount: v.stats.deletedCount.Load(),
		DeletedBytes: v.stats.deletedBytes.Load() + v.stats.expiredBytes.Load(),
		MaxKey:       v.index().MaxKey(),
		ReadOnly:     v.readOnly.load(),
		IndexBytes:   v.index().Bytes(),
	}
	if at := v.stats.modifiedAtUnix.Load(); at != 0 {
		s.ModifiedAt = time.Unix(at, 0)
	}
	return s
}

// SetReadOnly sets or clears one cause. The operator's mark outlives a restart; the error is that of
// writing it down, or ErrClosed.
func (v *Volume) SetReadOnly(cause ReadOnlyCause, on bool) error {
	if cause == CauseOperator {
		v.metaMu.Lock()
		defer v.metaMu.Unlock()
		if v.metaClosed {
			return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
		}
		m := v.meta
		m.ReadOnly = on
		if err := m.write(v.fs, v.base+".meta"); err != nil {
			return err
		}
		v.meta = m
	}
	if v.readOnly.set(cause, on) {
		v.cfg.Logger.Info("volume read-only state changed", "volume", v.id, "cause", cause.String(), "set", on)
	}
	return nil
}

// turnReadOnly sets a cause that the disk has given and reports it once.
func (v *Volume) turnReadOnly(cause ReadOnlyCause, err error) {
	if cause == CauseDamaged {
		v.failedSince.Store(true)
	}
	if v.readOnly.set(cause, true) {
		v.cfg.Logger.Error("volume turns read-only", "volume", v.id, "cause", cause.String(), "error", err)
	}
}

// Sync makes everything that was committed durable. Only the policies other than SyncAlways need it.
func (v *Volume) Sync() error { return v.committer.sync() }

// Close waits for operations in flight, makes all durable, marks the shutdown as clean, and closes the
// files. Later calls return the first one's result.
func (v *Volume) Close() error {
	v.closeOnce.Do(func() {
		idxBytes, err := v.committer.stop()
		v.metaMu.Lock()
		defer v.metaMu.Unlock()
		v.metaClosed = true
		if err == nil && v.readOnly.load()&(CauseDamaged|CauseFiles) == 0 {
			err = v.markClean(v.stats.length.Load(), idxBytes)
		}
		v.closeErr = errors.Join(err, v.dat().Close())
	})
	return v.closeErr
}

// markClean writes down that so much of the log and of the index file is complete and durable, which the
// caller has seen to. v.metaMu is held, or nobody else knows the volume yet.
func (v *Volume) markClean(datBytes, idxBytes int64) error {
	mark := cleanMark{DatBytes: datBytes, IdxBytes: idxBytes}
	if v.meta.Clean != nil && *v.meta.Clean == mark {
		return nil
	}
	m := v.meta
	m.Clean = &mark
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		return err
	}
	v.meta = m
	return nil
}

// remove closes the volume and deletes its files, the log first: what a crash or an error leaves then is
// either the whole volume or nothing that would be taken for one.
func (v *Volume) remove() error {
	err := v.Close()
	if e := v.fs.Remove(v.base + ".dat"); e != nil && !errors.Is(e, fs.ErrNotExist) {
		return errors.Join(err, e)
	}
	for _, ext := range sideExtensions {
		if e := v.fs.Remove(v.base + ext); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, v.fs.SyncDir(path.Dir(v.base)))
}

// sideExtensions are those of the files that a volume has besides its log.
var sideExtensions = []string{".idx", ".sum", ".meta", ".vif", ".dat.tmp", ".meta.tmp", ".idx.tmp", ".cpd", ".cpx"}

// createVolume makes the files of an empty volume, durably, and opens it. The `.dat` file appears under its
// name only when it is whole, and last: a crash leaves no half volume.
func createVolume(fsys vfs.FS, dir string, id blob.VolumeID, collection string, super Superblock, cfg Config) (*Volume, error) {
	base := path.Join(dir, blob.VolumeFileName(collection, id))
	if _, err := fsys.Stat(base + ".dat"); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = ErrVolumeExists
		}
		return nil, fmt.Errorf("create volume %s: %w", base, err)
	}
	m := meta{Synced: cfg.Sync == SyncAlways}
	err := m.write(fsys, base+".meta")
	if err == nil {
		var idx vfs.File
		if idx, err = fsys.OpenFile(base+".idx", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err == nil {
			err = idx.Close()
		}
	}
	if err == nil {
		err = writeFileAtomic(fsys, base+".dat", super.AppendBinary(nil))
	}
	var v *Volume
	if err == nil {
		v, err = openVolume(fsys, dir, id, collection, cfg)
	}
	if err != nil {
		// As far as the disk lets us: an empty volume may be left.
		for _, ext := range append([]string{".dat"}, sideExtensions...) {
			_ = fsys.Remove(base + ext)
		}
		_ = fsys.SyncDir(dir)
		return nil, fmt.Errorf("create volume %s: %w", base, diskError(err))
	}
	return v, nil
}
