package storage

import (
	"fmt"
	"path"

	"weed/storage/index"
)

// Reset makes the log an empty one that begins where the log of an Origin does, to get the bytes of another copy of
// that Origin by Write; the zero Origin is that of a log from its very beginning. It is durable, and a crash leaves the
// old log or the new one. What is kept by Save must say before, durably, that the log is not complete.
//
// What was acknowledged is not found any more then, though nobody has deleted it: who looked whether the copy may be read
// before, looks again: see Volume.Resets.
//
// Operations in flight are answered with ErrOutcomeUnknown: they may be in the other log. A compaction under way ends
// with an error; reads that have begun go on in the old log. After an error the log is the old one, unless the disk has
// failed at the end: then the volume is read-only.
func (l *Log) Reset(o Origin) error {
	c, v := l.c, l.c.v
	s := &successor{v: v, origin: o, index: index.New()}
	err := o.check(v.superblock.Length())
	if err == nil {
		err = s.reset()
	}
	if s.installed {
		p := &c.replica
		v.stats.modifiedAtUnix.Store(0)
		p.parsed = c.end
		c.forgetTail(0)
		if f := p.flight; f != nil {
			p.land()
			for _, op := range f.ops {
				op.answer(ErrOutcomeUnknown)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("begin the log of volume %d anew: %w", v.id, diskError(err))
	}
	v.cfg.Logger.Info("the log of a volume begins anew", "volume", v.id, "origin", o)
	return nil
}

// Resets counts calls of Log.Reset. A key that is not found says nothing if that has changed since it was asked whether
// the copy may be read.
func (v *Volume) Resets() uint64 { return v.resets.Load() }

// reset makes the files of an empty log those of the volume.
func (s *successor) reset() error {
	v := s.v
	if cause := v.readOnly.load() & (CauseDamaged | CauseFiles); cause != 0 {
		return fmt.Errorf("%w: %s", ErrReadOnly, cause)
	}
	if err := v.forgetFormerDecision(); err != nil {
		return err
	}
	v.successorMu.Lock() // no compaction makes its files meanwhile
	defer v.successorMu.Unlock()
	err := s.createEmpty()
	if err == nil {
		v.resets.Add(1)
		err = s.takeOver()
	}
	if e := s.cleanUp(); err == nil {
		err = e
	}
	if err == nil {
		s.forgetDecision()
	}
	return err
}

// createEmpty makes the files, durably.
func (s *successor) createEmpty() error {
	if err := s.create(); err != nil {
		return err
	}
	head, err := s.head(s.v.dat())
	if err != nil {
		return err
	}
	if _, err := s.dat.WriteAt(head, 0); err != nil {
		return err
	}
	s.length, s.end = int64(len(head)), int64(len(head))
	if err := s.dat.Sync(); err != nil {
		return err
	}
	if err := s.idx.sync(); err != nil {
		return err
	}
	return s.v.fs.SyncDir(path.Dir(s.v.base))
}

// forgetFormerDecision takes the mark of an earlier successor, which is done, out of `.meta`: it would be taken for one
// of the next.
func (v *Volume) forgetFormerDecision() error {
	v.metaMu.Lock()
	defer v.metaMu.Unlock()
	if v.metaClosed {
		return ErrClosed
	}
	if v.meta.Compacted == nil {
		return nil
	}
	return v.dropDecision()
}
