package storage

import (
	"errors"
	"fmt"
)

// Origin says which compaction has made a log. The copies of a log speak of it in log offsets, which no compaction
// changes: a byte's place in the file is its log offset less Skipped. From Floor on the logs of all Origins hold the
// same bytes at the same log offsets; what lies below is of this Origin alone. Logs of one Origin are equal as far as
// both go. The zero Origin is that of a log that was never compacted.
type Origin struct {
	Revision uint16 `json:"revision"` // of the superblock: counts compactions
	Floor    int64  `json:"floor"`    // log offset up to which it was compacted; 0: never
	Skipped  int64  `json:"skipped"`  // bytes that are left out before Floor
	AsOf     int64  `json:"asOf"`     // what had expired by then, in unix nanoseconds, was left out; 0: nothing
	// Sum is the CRC32-C of the bytes of the file from the end of the superblock to Floor.
	Sum uint32 `json:"sum"`
}

var (
	// ErrNotThere: this copy does not have all of the log yet that another one has compacted.
	ErrNotThere = errors.New("this copy does not have all of the compacted part of the log yet: it is to be tried again later")
	// ErrCompactedFurther: another compaction than the one asked for has left out here what that would keep.
	ErrCompactedFurther = errors.New("this copy was compacted in another way, and has to be copied anew")
	// ErrCopiesDiffer: the same compaction has had another result on another copy.
	ErrCopiesDiffer = errors.New("the compacted log is not that of the other copy, so the copies differ: see what volume.check says")
)

// check returns an error if there can be no log of this Origin with a superblock of so many bytes.
func (o Origin) check(superblock int64) error {
	if o.Floor < 0 || o.Skipped < 0 || o.Skipped%needleAlignment != 0 || o.Floor == 0 && o.Skipped > 0 ||
		o.Floor > 0 && o.Floor-o.Skipped < superblock {
		return fmt.Errorf("no log is of origin %+v", o)
	}
	return nil
}

// kept is what .meta says of it: nothing of a log that was not compacted by us.
func (o Origin) kept() *Origin {
	if o.Floor == 0 {
		return nil
	}
	return &o
}

// Origin returns which compaction has made the log.
func (v *Volume) Origin() Origin { return v.content.Load().origin }

// Revision returns how often the log was compacted: file offsets mean the same in logs of one revision.
func (v *Volume) Revision() uint16 { return v.Origin().Revision }

// LogLength returns the committed length of the log as a log offset.
func (v *Volume) LogLength() int64 { return v.stats.logLength.Load() }

// setLength takes down the committed length of a log, in bytes of its file.
func (v *Volume) setLength(bytes int64) {
	v.stats.length.Store(bytes)
	v.stats.logLength.Store(bytes + v.Origin().Skipped)
}

// ReadLog reads bytes of the log, committed or not, from a log offset on into all of p, as a log of an Origin has
// them. ErrCompacted: this one is of another, and they lie below its Floor.
func (v *Volume) ReadLog(offset int64, p []byte, of Origin) (int, error) {
	c := v.content.Load()
	if offset < c.origin.Floor && of != c.origin {
		return 0, fmt.Errorf("volume %d: %w", v.id, ErrCompacted)
	}
	at := offset - c.origin.Skipped
	if at < v.superblock.Length() {
		return 0, fmt.Errorf("the log of volume %d does not reach down to byte %d", v.id, offset)
	}
	return v.readFrom(c, at, p)
}

// ReadFile reads bytes of the log's file, as it is now, from a file offset on into all of p.
func (v *Volume) ReadFile(offset int64, p []byte) (int, error) {
	return v.readFrom(v.content.Load(), offset, p)
}

func (v *Volume) readFrom(c *content, at int64, p []byte) (int, error) {
	if err := readFull(c.dat, p, at); err != nil {
		return 0, v.closedError(err)
	}
	return len(p), nil
}
