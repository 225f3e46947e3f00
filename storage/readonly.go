package storage

import (
	"fmt"
	"strings"
	"sync/atomic"
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
)

var causeTexts = []struct {
	cause ReadOnlyCause
	text  string
}{
	{CauseOperator, "marked by the operator"},
	{CauseDamaged, "damaged"},
	{CauseNoSpace, "no space left on the disk"},
	{CauseFiles, "its files can't be written"},
	{CauseOldVersion, "its version 1 keeps no attributes"},
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
type causes struct{ bits atomic.Uint32 }

func (c *causes) load() ReadOnlyCause { return ReadOnlyCause(c.bits.Load()) }

// set adds or removes a cause and tells whether that changed anything.
func (c *causes) set(cause ReadOnlyCause, on bool) bool {
	if on {
		return c.bits.Or(uint32(cause))&uint32(cause) == 0
	}
	return c.bits.And(^uint32(cause))&uint32(cause) != 0
}

// deny returns the error for an operation that these causes forbid, nil if they forbid nothing.
func (c ReadOnlyCause) deny() error {
	if c == 0 {
		return nil
	}
	if c == CauseNoSpace {
		return fmt.Errorf("%w: %w", ErrReadOnly, ErrNoSpace)
	}
	return fmt.Errorf("%w: %s", ErrReadOnly, c)
}
