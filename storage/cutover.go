package storage

import (
	"errors"
	"fmt"
	"path"
)

// cutOver lets the copy take the place of the log. The committer runs it, so nothing is written meanwhile.
func (x *compaction) cutOver() error {
	v, c := x.v, x.v.committer
	if err := v.compactable(x.options.offline); err != nil {
		return err
	}
	if v.content.Load() != x.from {
		return fmt.Errorf("%w: the log was cut meanwhile", ErrCompacting)
	}
	if err := c.cut(); err != nil {
		return err
	}
	x.options.Pace = nil
	if err := x.copyRest(c.end); err != nil {
		return err
	}
	if err := x.sync(); err != nil {
		return err
	}
	if err := x.decide(); err != nil {
		return err
	}
	err := x.rename()
	if err != nil {
		// What .meta says holds: the next open gives the files their names.
		v.turnReadOnly(CauseDamaged, fmt.Errorf("name the files of a compaction: %w", err))
	}
	old := c.idx
	v.content.Store(newContent(x.dat, x.next))
	v.revision.Store(uint32(x.done.Revision))
	v.stats.length.Store(x.at)
	v.stats.deletedCount.Store(x.deletedCount)
	v.stats.deletedBytes.Store(x.deletedBytes)
	v.readOnly.noteFilled(v.cfg.Now)
	c.syncMu.Lock()
	c.dirty.Store(false)
	c.syncMu.Unlock()
	c.idx, c.end, x.done.After, x.done.Live = x.idx, x.at, x.at, x.next.Len()
	// The old log is closed when the last reader has let go of it, by the collector.
	_ = old.f.Close() // nobody needs what is in it
	return err
}

// decide writes down that the copy is the log. If it can't be told whether that has come to the disk, it is taken
// back, or the volume takes no more writes: either log is whole then.
func (x *compaction) decide() error {
	v := x.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	m := v.meta
	m.Compacted = &x.done.Revision
	m.Clean = &cleanMark{DatBytes: x.at, IdxBytes: x.idx.at}
	err := m.write(v.fs, v.base+".meta")
	if err == nil {
		v.meta, x.decided = m, true
		return nil
	}
	before := v.meta
	if e := before.write(v.fs, v.base+".meta"); e != nil {
		x.decided = true // perhaps: the files are left for the next open
		v.turnReadOnly(CauseDamaged, fmt.Errorf("take a compaction back: %w", e))
		err = errors.Join(err, e)
	}
	return err
}

func (x *compaction) rename() error {
	v := x.v
	err := v.fs.Rename(v.base+".cpd", v.base+".dat")
	if err == nil {
		err = v.fs.Rename(v.base+".cpx", v.base+".idx")
	}
	if err == nil {
		err = v.fs.SyncDir(path.Dir(v.base))
	}
	return err
}

// forgetDecision takes the mark of a compaction that is done out of `.meta`. Where that fails the next open does it,
// and there is no other compaction before.
func (x *compaction) forgetDecision() {
	v := x.v
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed || v.readOnly.load()&CauseDamaged != 0 {
		return
	}
	m := v.meta
	m.Compacted = nil
	if err := m.write(v.fs, v.base+".meta"); err != nil {
		v.cfg.Logger.Warn("the mark of a compaction stays until the next start", "volume", v.id, "error", err)
		return
	}
	v.meta = m
}
