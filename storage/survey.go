package storage

import "fmt"

// Survey reads what a new compaction would copy now, and returns the Origin that its result would have: other copies
// may Follow that before this one does. So each has those to be mended from that are of its generation still. Nothing is
// written. Errors are those of Compact.
func (v *Volume) Survey(o CompactOptions) (Origin, error) {
	if !v.compacting.CompareAndSwap(false, true) {
		return Origin{}, fmt.Errorf("volume %d: %w", v.id, ErrCompacting)
	}
	defer v.compacting.Store(false)
	x := &compaction{successor: successor{v: v}, options: o}
	err := v.compactable(false)
	if err == nil {
		err = v.roomToCompact()
	}
	if err == nil {
		err = x.survey()
	}
	if err != nil {
		return Origin{}, fmt.Errorf("survey volume %d: %w", v.id, v.closedError(diskError(err)))
	}
	return x.origin, nil
}

func (x *compaction) survey() error {
	if err := x.onCommitter(func() error { _, err := x.begin(); return err }); err != nil {
		return err
	}
	live, err := x.liveAtLimit()
	if err != nil {
		return err
	}
	length := x.v.superblock.Length()
	err = x.eachLive(live, func(scanner *logScanner, r logRecord) error {
		length += r.length
		return x.readRecord(scanner, r, func(b []byte) error {
			x.origin.Sum = updateChecksum(x.origin.Sum, b)
			return nil
		})
	})
	x.origin.Skipped = x.origin.Floor - length
	return err
}
