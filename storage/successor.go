package storage

import (
	"errors"
	"fmt"
	"os"
	"path"

	"weed/internal/vfs"
	"weed/storage/index"
)

// successor is a log with its index that is to take the place of a volume's. It is made under the names `.cpd` and
// `.cpx`, and is the volume's log from when `.meta` says so.
type successor struct {
	v      *Volume
	origin Origin
	dat    vfs.File
	idx    *idxWriter
	index  *index.Map
	length int64 // committed bytes of dat
	end    int64 // of dat, with what is not written yet

	deletedCount uint64
	deletedBytes uint64
	decided      bool    // `.meta` says, or may say, that it is the log
	mark         *uint16 // in `.meta`, that it was decided
	installed    bool    // the volume uses it
}

// create makes the files anew. Those of another one lose their names; who writes to them goes on for nothing.
// v.successorMu is held.
func (s *successor) create() error {
	v := s.v
	if err := errors.Join(v.removeIfThere(".cpd"), v.removeIfThere(".cpx")); err != nil {
		return err
	}
	v.successor = s
	dat, err := v.fs.OpenFile(v.base+".cpd", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	s.dat = dat
	idx, err := v.fs.OpenFile(v.base+".cpx", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	s.idx = &idxWriter{f: idx, dirty: true, sums: newSums(v.fs, "")}
	return nil
}

// head returns the superblock, with its extra part, of the volume's log but for the revision.
func (s *successor) head(from vfs.File) ([]byte, error) {
	head := make([]byte, s.v.superblock.Length())
	if err := readFull(from, head, 0); err != nil {
		return nil, err
	}
	super := s.v.superblock
	super.Revision = s.origin.Revision
	return append(super.AppendBinary(nil), head[SuperblockSize:]...), nil
}

// takeOver makes it the volume's log, whose files are durable under their names. The committer runs it, so nothing is
// written meanwhile. After an error it may be the log nevertheless, as decided says: then the volume is read-only, or
// the next open gives the files their names.
func (s *successor) takeOver() error {
	if err := s.decide(); err != nil {
		return err
	}
	err := s.rename()
	if err != nil {
		// What .meta says holds: the next open gives the files their names.
		err = fmt.Errorf("name the files of a new log: %w", err)
		s.v.turnReadOnly(CauseDamaged, err)
	}
	s.install()
	return err
}

// decide writes down that it is the log. If it can't be told whether that has come to the disk, it is taken back, or
// the volume takes no more writes: either log is whole then.
func (s *successor) decide() error {
	v := s.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed {
		return ErrClosed
	}
	m, revision := v.meta, s.origin.Revision
	s.mark = &revision
	m.Compacted, m.Origin = s.mark, s.origin.kept()
	m.Clean = &cleanMark{DatBytes: s.length, IdxBytes: s.idx.at}
	err := m.write(v.fs, v.base+".meta")
	if err == nil {
		v.meta, s.decided = m, true
		return nil
	}
	before := v.meta
	if e := before.write(v.fs, v.base+".meta"); e != nil {
		s.decided = true // perhaps: the files are left for the next open
		v.turnReadOnly(CauseDamaged, fmt.Errorf("take a new log back: %w", e))
		err = errors.Join(err, e)
	}
	return err
}

func (s *successor) rename() error {
	v := s.v
	err := v.fs.Rename(v.base+".cpd", v.base+".dat")
	if err == nil {
		err = v.fs.Rename(v.base+".cpx", v.base+".idx")
	}
	if err == nil {
		err = v.fs.SyncDir(path.Dir(v.base))
	}
	return err
}

// install has the volume use it.
func (s *successor) install() {
	v, c := s.v, s.v.committer
	old := c.idx
	v.content.Store(newContent(s.dat, s.index, s.origin))
	v.setLength(s.length)
	v.stats.deletedCount.Store(s.deletedCount)
	v.stats.deletedBytes.Store(s.deletedBytes)
	v.stats.expiredBytes.Store(0)
	v.readOnly.noteFilled(v.cfg.Now)
	c.syncMu.Lock()
	c.dirty.Store(false)
	c.syncMu.Unlock()
	s.idx.sums.keepAs(v.base + ".sum")
	v.sums.Store(s.idx.sums)
	c.idx, c.end, c.uncut, s.installed = s.idx, s.end, false, true
	// The old log is closed when the last reader has let go of it, by the collector.
	_ = old.f.Close() // nobody needs what is in it
}

// forgetDecision takes the mark of the decision out of `.meta`. Where that fails the next open does it, and there is no
// other successor before.
func (s *successor) forgetDecision() {
	v := s.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed || v.readOnly.load()&CauseDamaged != 0 || v.meta.Compacted != s.mark {
		return
	}
	if err := v.dropDecision(); err != nil {
		v.cfg.Logger.Warn("the mark of a compaction stays until the next start", "volume", v.id, "error", err)
	}
}

// dropDecision takes the mark out of `.meta`, whose files have their names. v.metaMu is held.
func (v *Volume) dropDecision() error {
	m := v.meta
	m.Compacted = nil
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		return err
	}
	v.meta = m
	return nil
}

// cleanUp removes the files if nothing came of it. v.successorMu is held.
func (s *successor) cleanUp() error {
	v := s.v
	names := v.successor == s
	if names {
		v.successor = nil
	}
	if s.installed {
		return nil
	}
	var err error
	if s.dat != nil {
		err = s.dat.Close()
	}
	if s.idx != nil {
		err = errors.Join(err, s.idx.f.Close())
	}
	if s.decided || !names {
		return err
	}
	return errors.Join(err, v.removeIfThere(".cpd"), v.removeIfThere(".cpx"))
}
