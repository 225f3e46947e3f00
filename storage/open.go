package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// openVolume opens a volume's files and recovers what a crash has left: it loads `.idx` as far as that can
// be believed, scans the rest of `.dat`, cuts a torn tail, and completes `.idx`. Damage makes the volume
// read-only; only files that can't be read at all are an error.
func openVolume(fsys vfs.FS, dir string, id blob.VolumeID, collection string, cfg Config) (_ *Volume, err error) {
	v := &Volume{
		id:         id,
		collection: collection,
		base:       path.Join(dir, blob.VolumeFileName(collection, id)),
		fs:         fsys,
		cfg:        cfg,
	}
	if err := finishSwap(fsys, v.base); err != nil {
		return nil, fmt.Errorf("replace the files of volume %s: %w", v.base, err)
	}
	if err := v.finishCompaction(); err != nil {
		return nil, fmt.Errorf("open volume %s: %w", v.base, err)
	}
	dat, err := v.openFile(".dat", 0)
	if err != nil {
		return nil, err
	}
	v.content.Store(newContent(dat, index.New(), Origin{}))
	r := recovery{v: v}
	if err = r.run(); err != nil {
		err = errors.Join(fmt.Errorf("open volume %s: %w", v.base, err), v.dat().Close())
		if r.idx != nil {
			err = errors.Join(err, r.idx.Close())
		}
		return nil, err
	}
	v.damagedAtOpen = v.readOnly.load()&CauseDamaged != 0
	v.committer = newCommitter(v, r.idxWriter, r.end, r.lastNs)
	return v, nil
}

// openFile opens one of the volume's files for writing, or for reading where that is not allowed.
func (v *Volume) openFile(ext string, flag int) (vfs.File, error) {
	name := v.base + ext
	f, err := v.fs.OpenFile(name, os.O_RDWR|flag, 0o644)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	readable, readErr := v.fs.OpenFile(name, os.O_RDONLY, 0)
	switch {
	case errors.Is(readErr, vfs.ErrNotRegular):
		return nil, readErr
	case readErr != nil:
		return nil, err
	}
	v.readOnly.set(CauseFiles, true)
	v.cfg.Logger.Warn("volume can only be read", "volume", v.id, "error", err)
	return readable, nil
}

// recovery is the work of opening one volume.
type recovery struct {
	v         *Volume
	idx       vfs.File
	idxWriter *idxWriter
	sums      *sumCheck
	durable   int64  // length of the log that the last clean shutdown vouches for
	end       int64  // of the log, once known
	lastNs    uint64 // timestamp of the last needle
	lost      bool   // needles are missing that were acknowledged: both files stay as they are
}

func (r *recovery) run() (err error) {
	v := r.v
	if v.superblock, err = readSuperblock(v.dat()); err != nil {
		return err
	}
	if v.superblock.Version == Version1 {
		v.readOnly.set(CauseOldVersion, true)
	}
	datLength, err := v.dat().Size()
	if err != nil {
		return err
	}
	if datLength > MaxVolumeSizeBytes {
		return fmt.Errorf("%s is %d bytes long, more than its offsets can address: it was made with longer ones",
			v.dat().Name(), datLength)
	}
	if err := r.readMeta(datLength); err != nil {
		return err
	}
	if r.idx, err = v.openFile(".idx", os.O_CREATE); err != nil {
		return err
	}
	load, err := r.loadIdx(datLength)
	if err != nil {
		return err
	}
	r.openIdxWriter(load.goodBytes)
	if err := r.scan(load, datLength); err != nil {
		return err
	}
	v.setLength(r.end)
	if r.lastNs > 0 {
		v.stats.modifiedAtUnix.Store(int64(r.lastNs / 1e9))
	}
	if err := r.completeIdx(); err != nil {
		r.idxWriter.err = err
		v.cfg.Logger.Error("index file can't be completed; the next start tries again", "volume", v.id, "error", err)
	}
	return r.noteSync()
}

// noteSync writes down under which policy the entries come that are appended from now on. What is there was
// compared with the log, and recovery has synced that.
func (r *recovery) noteSync() error {
	v := r.v
	synced := v.cfg.Sync == SyncAlways
	if v.foreign || v.meta.Synced == synced || v.readOnly.load()&(CauseFiles|CauseDamaged) != 0 {
		return nil
	}
	m := v.meta
	m.Synced = synced
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		return err
	}
	v.meta = m
	return nil
}

// readMeta learns what the last owner of the files has written down. What can't be understood is treated as
// missing, and as damage.
func (r *recovery) readMeta(datLength int64) error {
	v := r.v
	m, err := readMeta(v.fs, v.base+".meta")
	if err = r.damagedIfCorrupt(err); err != nil {
		return err
	}
	if m == nil {
		info, err := readForeignInfo(v.fs, v.base+".vif")
		if err = r.damagedIfCorrupt(err); err != nil {
			return err
		}
		m = &meta{Foreign: true, ReadOnly: info.ReadOnly}
	}
	v.meta, v.foreign = *m, m.Foreign
	v.content.Store(newContent(v.dat(), v.index(), r.origin()))
	v.readOnly.set(CauseOperator, m.ReadOnly)
	if m.Clean == nil {
		return nil
	}
	r.durable = m.Clean.DatBytes
	if datLength < r.durable {
		r.damaged(&CorruptError{v.dat().Name(), datLength,
			fmt.Sprintf("the file was %d bytes long at the last clean shutdown", r.durable)})
	}
	return nil
}

// origin returns which compaction has made the log: one of ours, of which .meta tells, or none or another program's.
func (r *recovery) origin() Origin {
	super, kept := r.v.superblock, r.v.meta.Origin
	if kept == nil {
		return Origin{Revision: super.Revision}
	}
	err := kept.check(super.Length())
	if err == nil && kept.Revision != super.Revision {
		err = fmt.Errorf("it is of revision %d, and the log of %d", kept.Revision, super.Revision)
	}
	if err != nil {
		r.damaged(&CorruptError{r.v.base + ".meta", 0, "the origin is not that of the log: " + err.Error()})
		return Origin{Revision: super.Revision}
	}
	return *kept
}

// adopted tells whether the order of the `.idx` entries is known: we wrote them all, or a mark says which.
func (r *recovery) adopted() bool { return !r.v.foreign || r.v.meta.Clean != nil }

// scan finds what the index file does not know, and the end of the log.
func (r *recovery) scan(load idxLoad, datLength int64) error {
	v := r.v
	scanner := newLogScanner(v.dat(), v.superblock.Version, datLength)
	scanner.batched = r.adopted()
	scanner.cookieOf = v.cookieOf
	scanner.elsewhere, scanner.unsynced = v.meta.Elsewhere, !v.meta.Synced
	if load.last != (idxEntry{}) {
		offset := int64(load.last.offset) * needleAlignment
		last, verdict, err := scanner.check(offset)
		if err != nil {
			return err
		}
		if verdict == recordGood && last.key == load.last.key && last.size == load.last.bodySize() {
			r.lastNs = last.appendAtNs
		} else {
			r.damaged(&CorruptError{v.dat().Name(), offset, "the last needle that the index file knows is bad"})
		}
	}
	t, err := scanner.scanTail(load.logEnd, r.durable, func(rec logRecord, good bool) {
		e := entryOf(rec.header, rec.offset)
		v.apply(e)
		if good { // the gap that others leave makes the next start look again
			if s := r.idxWriter.sums; s != nil && !v.foreign {
				e.rest = scanner.rest(rec.offset, rec.length)
				s.doubt()
			}
			r.idxWriter.add(e)
		} else {
			r.idxWriter.sums = nil
			v.sums.Store(nil)
		}
	})
	if err != nil {
		return err
	}
	r.lastNs = max(r.lastNs, t.lastNs)
	if t.damage != nil {
		r.damaged(t.damage)
	}
	r.end = t.end
	if r.lost || v.readOnly.load()&CauseFiles != 0 {
		return nil
	}
	if t.cut > 0 {
		v.cfg.Logger.Warn("cut a torn tail that was never acknowledged", "volume", v.id, "offset", t.end, "bytes", t.cut)
		if err := v.dat().Truncate(t.end); err != nil {
			return fmt.Errorf("cut the torn tail: %w", err)
		}
	}
	if t.cut == 0 && r.end <= max(r.durable, v.superblock.Length()) {
		return nil
	}
	// A killed process may have left bytes that no sync covers, and readers are about to see them.
	if err := v.dat().Sync(); err != nil {
		r.damaged(fmt.Errorf("sync %s: %w", v.dat().Name(), err))
	}
	return nil
}

// cookieOf returns the cookie of the needle that the index knows under key.
func (v *Volume) cookieOf(key blob.Key) (cookie blob.Cookie, ok bool, err error) {
	loc, ok := v.index().Get(key)
	if !ok {
		return 0, false, nil
	}
	var b [needleHeaderSize]byte
	err = readFull(v.dat(), b[:], int64(loc.Offset)*needleAlignment)
	return parseHeader(b[:]).cookie, true, err
}

// damagedIfCorrupt lets a volume open although a small file beside it is damaged.
func (r *recovery) damagedIfCorrupt(err error) error {
	if errors.Is(err, ErrCorrupt) {
		r.damaged(err)
		return nil
	}
	return err
}

func (r *recovery) damaged(err error) {
	r.v.readOnly.set(CauseDamaged, true)
	r.v.cfg.Logger.Error("volume is damaged and opens read-only: restore it from another copy", "volume", r.v.id, "error", err)
}

// apply publishes one index entry and keeps the books on what it replaces.
func (v *Volume) apply(e idxEntry) {
	var old index.Location
	var replaced bool
	if e.deleted() {
		old, replaced = v.index().Delete(e.key)
	} else {
		old, replaced = v.index().Put(e.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
	if replaced {
		v.stats.deletedCount.Add(1)
		v.stats.deletedBytes.Add(uint64(old.Size))
	}
}
