package storage

import (
	"errors"
	"fmt"
	"time"
)

// ErrAlive: a volume has no time to live, or that is not over, or it was written to after all.
var ErrAlive = errors.New("the volume's time to live is not over")

// Expire lets a volume take nothing more (CauseExpired) if its time to live is over, counted from its last append, which
// was in the second lastAppend: else it is ErrAlive, and all is as before. Once it has returned nil nothing is
// acknowledged any more that the volume's deletion would take away.
func (v *Volume) Expire(lastAppend time.Time) error {
	ttl := v.superblock.TTL.Duration()
	if ttl == 0 || v.cfg.Now().Sub(lastAppend) < ttl+time.Second { // to the end of that second
		return fmt.Errorf("volume %d: %w", v.id, ErrAlive)
	}
	if err := v.SetReadOnly(CauseExpired, true); err != nil {
		return err
	}
	// What was let in before the mark has been appended once the committer gets to this.
	reached := make(chan struct{})
	if !v.Post(func() { close(reached) }) {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	<-reached
	uncommitted := v.committer.replica.keys.n.Load() // before the other: a commit changes that first
	if uncommitted == 0 && v.stats.modifiedAtUnix.Load() <= lastAppend.Unix() {
		return nil
	}
	return errors.Join(fmt.Errorf("volume %d: %w", v.id, ErrAlive), v.SetReadOnly(CauseExpired, false))
}
