package storage

import "errors"

// Compact is Volume.Compact on a volume that no server has open, and leaves out what has expired. reached is told now
// and then how many bytes have been copied, of at most so many, and ends the work by an error.
func (o *Offline) Compact(reached func(copied, most int64) error) (done Compacted, err error) {
	v, err := openVolume(o.fs, o.dir, o.id, o.collection, o.cfg)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	copied, most := int64(0), v.SizeBytes()
	return v.Compact(CompactOptions{AsOf: o.cfg.Now(), offline: true, Pace: func(n int) error {
		copied += int64(n)
		return reached(min(copied, most), most)
	}})
}
