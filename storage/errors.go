package storage

import (
	"errors"
	"fmt"
)

// The kinds of failure that callers branch on.
var (
	// ErrNotFound: no such needle, or it was deleted, has expired, or the cookie is wrong.
	ErrNotFound = errors.New("not found")
	// ErrCookie: the key holds a needle with another cookie, so this caller may not overwrite it.
	ErrCookie = errors.New("the key is taken by a blob with another cookie")
	// ErrReadOnly: the volume takes no puts; the wrapping text says why.
	ErrReadOnly = errors.New("volume is read-only")
	// ErrFull: the log has reached the Store's size limit, or the needle would end beyond what a volume can
	// address (32 GiB).
	ErrFull = errors.New("volume is full")
	// ErrNoSpace: the disk has no room left.
	ErrNoSpace = errors.New("no space left on the disk")
	// ErrTooLarge: a part of the needle does not fit its length field.
	ErrTooLarge = errors.New("too large for a needle")
	// ErrCorrupt: bytes on disk are not what was written. Errors of this kind are *CorruptError.
	ErrCorrupt = errors.New("corrupt")
	// ErrWait: a Replicator takes nothing now, but will soon.
	ErrWait = errors.New("wait")
	// ErrUnsettled: a replicated volume took nothing for too long. The operation changed nothing.
	ErrUnsettled = errors.New("the copies of the volume are not in touch: nothing was changed, try again in a moment")
	// ErrOutcomeUnknown: it was not settled in time whether a replicated operation has happened. It will be settled
	// in the same way on all copies.
	ErrOutcomeUnknown = errors.New("outcome unknown: the copies of the volume are out of touch, and will settle it alike")
	// ErrClosed: the volume or store was closed.
	ErrClosed = errors.New("closed")
	// ErrVolumeExists: a volume of that id is here already.
	ErrVolumeExists = errors.New("volume exists already")
	// ErrNoVolume: no volume of that id is here.
	ErrNoVolume = errors.New("no such volume here")
	// ErrInUse: another process has the directory open.
	ErrInUse = errors.New("a server or another tool has it open: stop that first, or work on a copy")
	// ErrNoSlot: every directory holds as many volumes as it may.
	ErrNoSlot = errors.New("no free volume slot")
)

// CorruptError says where bytes are not what they should be.
type CorruptError struct {
	Path   string
	Offset int64 // in bytes from the file's beginning
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Path, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) hold.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
