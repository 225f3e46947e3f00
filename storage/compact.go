package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"weed/internal/blob"
)

var (
	// ErrCompacting: the volume, or another one on its disks, is being compacted.
	ErrCompacting = errors.New("a compaction is under way")
	// ErrSeveralCopies: the log has copies elsewhere, and nothing here is in touch with them.
	ErrSeveralCopies = errors.New("the volume has, or had, copies on other servers, and one copy is not compacted alone")
)

// CompactOptions say how a volume is compacted. The zero value keeps what has expired, and hurries.
type CompactOptions struct {
	// Pace holds the copying back, nil for not at all. Its error ends the compaction.
	Pace Pace
	// AsOf leaves out what has expired by then, by its append time; zero keeps it. What an earlier compaction has left
	// out stays out.
	AsOf time.Time
	// Follow does the compaction that another copy has done, whose result is of this Origin; AsOf is ignored then. nil
	// does a new one, of all that is committed.
	Follow *Origin

	// offline compacts a volume of several copies, too, with no server in touch with the others.
	offline bool
}

// Compacted tells what a compaction has done. Lengths are in bytes, of the log's file.
type Compacted struct {
	Before, After int64
	Live          int // blobs that are left
	Revision      uint16
	Origin        Origin // of the log
}

// Compact compacts a volume; one at a time, as several directories may be on one disk. Errors are those of
// Volume.Compact, or ErrNoVolume.
func (s *Store) Compact(id blob.VolumeID, o CompactOptions) (Compacted, error) {
	if !s.compacting.TryLock() {
		return Compacted{}, fmt.Errorf("volume %d: %w", id, ErrCompacting)
	}
	defer s.compacting.Unlock()
	v, ok := s.Volume(id)
	if !ok {
		return Compacted{}, fmt.Errorf("volume %d: %w", id, ErrNoVolume)
	}
	return v.Compact(o)
}

// Compact writes the log anew without what was deleted or replaced, in the order of the log and byte for byte, and
// lets the copy take its place. What comes out depends on the committed log at the begin alone, so that other copies
// can Follow: see Origin. Reads go on, those that have begun in the old log; writes wait for the cut-over
// alone. A crash leaves the old log or the new one. After an error the volume is what it was, unless the disk
// failed in the cut-over: then it is read-only until it is opened again.
//
// Errors: ErrCompacting, ErrSeveralCopies, ErrReadOnly (damaged, or the files can't be written), ErrNoSpace,
// *CorruptError for damage that is met, ErrClosed, that of Pace or of Replicator.Compactable, or the disk's; with
// Follow also ErrNotThere, ErrCompactedFurther, ErrCopiesDiffer. To follow the Origin that the log has is no error.
func (v *Volume) Compact(o CompactOptions) (done Compacted, err error) {
	if !v.compacting.CompareAndSwap(false, true) {
		return done, fmt.Errorf("volume %d: %w", v.id, ErrCompacting)
	}
	defer v.compacting.Store(false)
	if err = v.compactable(o.offline); err == nil {
		err = v.roomToCompact()
	}
	if err != nil {
		return done, fmt.Errorf("compact volume %d: %w", v.id, err)
	}
	x := &compaction{successor: successor{v: v}, options: o}
	already, err := x.run()
	if err != nil {
		return done, fmt.Errorf("compact volume %d: %w", v.id, v.closedError(diskError(err)))
	}
	x.done.Origin, x.done.Revision = x.origin, x.origin.Revision
	if already {
		return x.done, nil
	}
	v.cfg.Logger.Info("volume compacted", "volume", v.id, "bytesBefore", x.done.Before, "bytesAfter", x.done.After,
		"revision", x.done.Revision)
	return x.done, nil
}

// compactable returns why the volume can't be compacted.
func (v *Volume) compactable(offline bool) error {
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	cause := v.readOnly.load() & (CauseDamaged | CauseFiles)
	switch {
	case v.metaClosed:
		return ErrClosed
	case cause != 0:
		return fmt.Errorf("%w: %s", ErrReadOnly, cause)
	case !offline && !v.committer.replica.on.Load() && (v.superblock.Placement.Copies() > 1 || v.meta.Replication != nil):
		return ErrSeveralCopies
	case v.meta.Compacted != nil:
		return fmt.Errorf("%w: the last one can only be finished by a restart", ErrCompacting)
	}
	return nil
}

// roomToCompact returns an error if the disk can't take what is live and keep its reserve.
func (v *Volume) roomToCompact() error {
	usage, err := v.fs.Usage(path.Dir(v.base))
	if err != nil {
		return fmt.Errorf("free room can't be told: %w", err)
	}
	need := max(v.stats.length.Load()-int64(v.stats.deletedBytes.Load()), 0) + int64(v.index().Len())*idxEntrySize
	reserve := v.cfg.MinFreePercent / 100 * float64(usage.TotalBytes)
	if usage.TotalBytes > 0 && float64(usage.FreeBytes) < float64(need)+reserve {
		return fmt.Errorf("%w: the copy may take %d bytes, %d are free, of which %.0f are kept", ErrNoSpace, need,
			usage.FreeBytes, reserve)
	}
	return nil
}

// finishCompaction brings the files of a volume that is about to be opened into the state that `.meta` says: it
// gives the copy the log's name if that was decided, and else removes it.
func (v *Volume) finishCompaction() error {
	m, err := readMeta(v.fs, v.base+".meta")
	if errors.Is(err, ErrCorrupt) {
		return nil // nobody knows; recovery reports it
	}
	if err != nil {
		return err
	}
	if m == nil || m.Compacted == nil {
		for _, ext := range []string{".cpd", ".cpx"} {
			if err := v.removeIfThere(ext); err != nil {
				v.cfg.Logger.Warn("what is left of a compaction can't be removed", "file", v.base+ext, "error", err)
			}
		}
		return nil
	}
	copied, err := v.revisionOf(".cpd")
	switch {
	case errors.Is(err, os.ErrNotExist): // it has the log's name already
	case err != nil:
		return err
	case copied != *m.Compacted:
		return &CorruptError{v.base + ".cpd", 0, fmt.Sprintf("it is of revision %d instead of %d", copied, *m.Compacted)}
	default:
		if err := v.fs.Rename(v.base+".cpd", v.base+".dat"); err != nil {
			return err
		}
	}
	if err := v.fs.Rename(v.base+".cpx", v.base+".idx"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := v.fs.SyncDir(path.Dir(v.base)); err != nil {
		return err
	}
	m.Compacted = nil
	return m.write(v.fs, v.base+".meta")
}

func (v *Volume) removeIfThere(ext string) error {
	if _, err := v.fs.Stat(v.base + ext); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return v.fs.Remove(v.base + ext)
}

// revisionOf returns the revision of one of the volume's files that begins with a superblock.
func (v *Volume) revisionOf(ext string) (uint16, error) {
	f, err := v.fs.OpenFile(v.base+ext, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	super, err := readSuperblock(f)
	return super.Revision, errors.Join(err, f.Close())
}
