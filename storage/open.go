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
		index:      index.New(),
	}
	if v.dat, err = v.openFile(".dat", 0); err != nil {
		return nil, err
	}
	r := recovery{v: v}
	if err = r.run(); err != nil {
		err = errors.Join(fmt.Errorf("open volume %s: %w", v.base, err), v.dat.Close())
		if r.idx != nil {
			err = errors.Join(err, r.idx.Close())
		}
		return nil, err
	}
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
	if readErr != nil {
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
	durable   int64  // length of the log that the last clean shutdown vouches for
	end       int64  // of the log, once known
	lastNs    uint64 // timestamp of the last needle
}

func (r *recovery) run() (err error) {
	v := r.v
	if v.superblock, err = readSuperblock(v.dat); err != nil {
		return err
	}
	datLength, err := v.dat.Size()
	if err != nil {
		return err
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
	if err := r.openIdxWriter(load.goodBytes); err != nil {
		return err
	}
	if err := r.scan(load, datLength); err != nil {
		return err
	}
	v.stats.length.Store(r.end)
	if r.lastNs > 0 {
		v.stats.modifiedAtUnix.Store(int64(r.lastNs / 1e9))
	}
	return r.idxWriter.flush()
}

// readMeta learns what the last owner of the files has written down.
func (r *recovery) readMeta(datLength int64) error {
	v := r.v
	m, err := readMeta(v.fs, v.base+".meta")
	if err != nil {
		return err
	}
	if m == nil {
		info, err := readForeignInfo(v.fs, v.base+".vif")
		if err != nil {
			return err
		}
		m = &meta{Foreign: true, ReadOnly: info.ReadOnly}
	}
	v.meta, v.foreign = *m, m.Foreign
	v.readOnly.set(CauseOperator, m.ReadOnly)
	if m.Clean == nil {
		return nil
	}
	r.durable = m.Clean.DatBytes
	if datLength < r.durable {
		r.damaged(&CorruptError{v.dat.Name(), datLength,
			fmt.Sprintf("the file was %d bytes long at the last clean shutdown", r.durable)})
	}
	return nil
}

// loadIdx fills the index from `.idx`. An index file that belongs to another log is forgotten as a whole.
func (r *recovery) loadIdx(datLength int64) (idxLoad, error) {
	v := r.v
	check := idxCheck{
		version:     v.superblock.Version,
		firstNeedle: v.superblock.Length(),
		datLength:   datLength,
		foreign:     v.foreign,
	}
	if v.meta.Clean != nil {
		check.trustedBytes, check.trustedLength = v.meta.Clean.IdxBytes, v.meta.Clean.DatBytes
	}
	load, err := loadIdx(r.idx, check, func(e idxEntry) { v.apply(e) })
	if err != nil {
		return load, err
	}
	if load.damage != nil {
		r.damaged(load.damage)
	}
	if load.last == (idxEntry{}) {
		return load, nil
	}
	var b [needleHeaderSize]byte
	if err := readFull(v.dat, b[:], int64(load.last.offset)*needleAlignment); err != nil {
		return load, err
	}
	if h := parseHeader(b[:]); h.key != load.last.key || h.size != load.last.bodySize() {
		v.cfg.Logger.Warn("index file does not belong to the log and is rebuilt", "volume", v.id)
		v.index = index.New()
		v.stats.deletedCount.Store(0)
		v.stats.deletedBytes.Store(0)
		load = idxLoad{logEnd: check.firstNeedle}
	}
	return load, nil
}

// scan finds what the index file does not know, and the end of the log.
func (r *recovery) scan(load idxLoad, datLength int64) error {
	v := r.v
	scanner := newLogScanner(v.dat, v.superblock.Version, datLength)
	if load.last != (idxEntry{}) {
		last, verdict, err := scanner.check(int64(load.last.offset) * needleAlignment)
		if err != nil {
			return err
		}
		if verdict == recordGood {
			r.lastNs = last.appendAtNs
		}
	}
	t, err := scanner.scanTail(load.logEnd, r.durable, func(rec logRecord) {
		e := idxEntry{key: rec.key, offset: uint32(rec.offset / needleAlignment), size: int32(rec.size)}
		if rec.size == 0 {
			e.size = tombstoneSize
		}
		v.apply(e)
		r.idxWriter.add(e)
	})
	if err != nil {
		return err
	}
	r.lastNs = max(r.lastNs, t.lastNs)
	if t.damage != nil {
		r.damaged(t.damage)
	}
	r.end = t.end
	if t.cut == 0 || v.readOnly.load()&CauseFiles != 0 {
		return nil
	}
	v.cfg.Logger.Warn("cut a torn tail that was never acknowledged", "volume", v.id, "offset", t.end, "bytes", t.cut)
	if err := v.dat.Truncate(t.end); err != nil {
		return fmt.Errorf("cut the torn tail: %w", err)
	}
	return v.dat.Sync()
}

// openIdxWriter cuts what can't be believed off the index file and goes on from there.
func (r *recovery) openIdxWriter(goodBytes int64) error {
	r.idxWriter = &idxWriter{f: r.idx, at: goodBytes}
	if r.v.readOnly.load()&CauseFiles != 0 {
		r.idxWriter.err = r.v.readOnly.load().deny()
		return nil
	}
	size, err := r.idx.Size()
	if err == nil && size > goodBytes {
		err = r.idx.Truncate(goodBytes)
	}
	if err != nil {
		return fmt.Errorf("complete the index file: %w", err)
	}
	return nil
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
		old, replaced = v.index.Delete(e.key)
	} else {
		old, replaced = v.index.Put(e.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
	if replaced {
		v.stats.deletedCount.Add(1)
		v.stats.deletedBytes.Add(uint64(old.Size))
	}
}
