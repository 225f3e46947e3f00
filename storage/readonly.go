package storage

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// ReadOnlyCause is a set of reasons why a volume takes no puts. Each is set and cleared on its own, so
// that room on the disk does not undo what an operator ordered.
type ReadOnlyCause uint32

// The causes.
const (
	CauseOperator   ReadOnlyCause = 1 << iota // marked by an operator, or by the `.vif` of a foreign volume
	CauseDamaged                              // damage was found, or the disk failed a write
	CauseNoSpace                              // the disk is full, or nearly
	CauseFiles                                // the files can't be opened for writing
	CauseOldVersion                           // version 1 has no room for what must be kept with a blob
	CauseFull                                 // the log has reached the Store's size limit
	CauseExpired                              // its time to live is over: it is about to be deleted
)

// causesOfPuts forbid puts alone. A delete is short, vacuum needs it, and a tombstone is the same in all
// versions.
const causesOfPuts = CauseNoSpace | CauseOldVersion | CauseFull

var causeTexts = []struct {
	cause ReadOnlyCause
	text  string
}{
	{CauseOperator, "marked by the operator"},
	{CauseDamaged, "damaged"},
	{CauseNoSpace, "no space left on the disk"},
	{CauseFiles, "its files can't be written"},
	{CauseOldVersion, "its version 1 keeps no attributes"},
	{CauseFull, "full"},
	{CauseExpired, "its time to live is over"},
}

// String lists the causes, "" for none.
func (c ReadOnlyCause) String() string {
	var texts []string
	for _, t := range causeTexts {
		if c&t.cause != 0 {
			texts = append(texts, t.text)
		}
	}
	return strings.Join(texts, ", ")
}

// causes is a set of ReadOnlyCause that many may read and change.
type causes struct {
	bits atomic.Uint32
	// CauseFull is no bit: it is worked out whenever it is asked for, so that no growth is missed, and a higher
	// limit or a shorter log clears it. Both are nil until a Store takes the volume in.
	sizeBytes  *atomic.Int64 // of the log
	limitBytes *atomic.Int64 // 0 for none
	// filledAtNs is when a put brought the log to the limit, in unix nanoseconds; 0 if none did in this process,
	// or the limit is not reached.
	filledAtNs atomic.Int64
}

// fullGrace is how long a volume that has just become full still takes puts: those of the fids that masters gave
// out before they could know. Without it every volume that fills up under load would fail some clients.
const fullGrace = 2 * time.Second

// bound sets what CauseFull follows from. It comes before anyone else knows the volume.
func (c *causes) bound(sizeBytes, limitBytes *atomic.Int64) {
	c.sizeBytes, c.limitBytes = sizeBytes, limitBytes
}

func (c *causes) load() ReadOnlyCause {
	set := ReadOnlyCause(c.bits.Load())
	if c.limitBytes == nil {
		return set
	}
	if limit := c.limitBytes.Load(); limit > 0 && c.sizeBytes.Load() >= limit {
		set |= CauseFull
	}
	return set
}

// noteFilled takes the time at which a put makes the volume full.
func (c *causes) noteFilled(now func() time.Time) {
	full := c.load()&CauseFull != 0
	if at := c.filledAtNs.Load(); full && at == 0 {
		c.filledAtNs.CompareAndSwap(0, now().UnixNano())
	} else if !full && at != 0 {
		c.filledAtNs.Store(0)
	}
}

// inGrace tells whether the volume has become full just now.
func (c *causes) inGrace(now time.Time) bool {
	at := c.filledAtNs.Load()
	since := now.UnixNano() - at
	return at != 0 && since >= 0 && since < int64(fullGrace)
}

// set adds or removes a cause and tells whether that changed anything.
func (c *causes) set(cause ReadOnlyCause, on bool) bool {
	if on {
		return c.bits.Or(uint32(cause))&uint32(cause) == 0
	}
	return c.bits.And(^uint32(cause))&uint32(cause) != 0
}

// deny returns the error for an operation that these causes forbid, nil if they forbid nothing.
func (c ReadOnlyCause) deny() error {
	switch c {
	case 0:
		return nil
	case CauseNoSpace:
		return fmt.Errorf("%w: %w", ErrReadOnly, ErrNoSpace)
	case CauseFull:
		return fmt.Errorf("%w: %w", ErrReadOnly, ErrFull)
	}
	return fmt.Errorf("%w: %s", ErrReadOnly, c)
}

// ReadOnly returns why the volume is to be given no puts. A full one still takes them for a moment.
func (v *Volume) ReadOnly() ReadOnlyCause { return v.readOnly.load() }

// CheckPut returns the error with which a put would be refused at this moment, nil if the volume takes puts:
// ErrReadOnly with the causes, also ErrNoSpace or ErrFull where that is the only one.
func (v *Volume) CheckPut() error { return v.denies(false) }

// denies returns why the volume takes no put, or no delete.
func (v *Volume) denies(isDelete bool) error {
	cause := v.readOnly.load()
	switch {
	case isDelete:
		cause &^= causesOfPuts
	case cause == CauseFull && v.readOnly.inGrace(v.cfg.Now()):
		cause = 0
	}
	if cause == 0 {
		return nil
	}
	return fmt.Errorf("volume %d: %w", v.id, cause.deny())
}
