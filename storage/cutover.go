package storage

import (
	"fmt"
)

// cutOver lets the copy take the place of the log. The committer runs it, so nothing is written meanwhile.
func (x *compaction) cutOver() error {
	v, c := x.v, x.v.committer
	if err := v.compactable(x.options.offline); err != nil {
		return err
	}
	if err := x.unmoved(); err != nil {
		return err
	}
	r := c.replica.r
	if r != nil {
		if err := r.Compactable(x.origin.Floor); err != nil {
			return err
		}
	}
	if err := c.cut(); err != nil {
		return err
	}
	x.options.Pace = nil
	if err := x.copyRest(v.stats.length.Load()); err != nil {
		return err
	}
	x.judgeRests()
	x.length = x.end
	if err := x.copyTail(c.end); err != nil {
		return err
	}
	if err := x.sync(); err != nil {
		return err
	}
	by := x.end - c.end
	err := x.takeOver()
	if x.installed {
		c.replica.shift(by)
		x.done.After, x.done.Live = x.length, x.index.Len()
		if r != nil {
			r.Compacted(x.origin)
		}
	}
	if err != nil && x.decided && r != nil {
		r.Failed(err)
	}
	return err
}

// unmoved returns an error if the log is not the one any more that is copied, or the copy has lost its names to another
// one.
func (x *compaction) unmoved() error {
	x.v.successorMu.Lock()
	defer x.v.successorMu.Unlock()
	if x.v.content.Load() != x.from || x.v.successor != &x.successor {
		return fmt.Errorf("%w: the log was cut meanwhile", ErrCompacting)
	}
	return nil
}

// copyTail copies what is not committed of a replicated volume's log, which may end inside a record.
func (x *compaction) copyTail(end int64) error {
	buf := make([]byte, min(copyBytes, max(end-x.read, 0)))
	for x.read < end {
		b := buf[:min(int64(len(buf)), end-x.read)]
		if err := readFull(x.from.dat, b, x.read); err != nil {
			return err
		}
		if err := x.write(b); err != nil {
			return err
		}
		x.read += int64(len(b))
	}
	return nil
}

// shift moves what is known of the uncommitted part of a log to where that is after a compaction.
func (p *replica) shift(by int64) {
	moved := func(offset uint32) uint32 { return uint32(int64(offset) + by/needleAlignment) }
	p.parsed += by
	for i := range p.entries {
		p.entries[i].offset = moved(p.entries[i].offset)
		p.entries[i].end += by
	}
	if f := p.flight; f != nil {
		f.end += by
		for _, op := range f.ops {
			op.entry.offset = moved(op.entry.offset)
		}
	}
}
