package raftstore

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A leader whose disk takes no more steps down, and would stand again as soon as any other: where the others lack a part of
// the log, or only happen to be slower, it leads again and again and never gets anything done. So whoever could not store
// what it was to keep asks nobody for a vote for a while.

// sickTime is for how many of Timeouts.Heartbeat that is.
const sickTime = 5

var errSick = errors.New("the disk has just refused an entry of the log: another one is to lead")

// watchedLogs notes when the disk does not take what is stored.
type watchedLogs struct {
	raft.LogStore
	failedAt atomic.Int64 // in ns since 1970; 0 if the last was taken
}

func (l *watchedLogs) StoreLog(entry *raft.Log) error { return l.note(l.LogStore.StoreLog(entry)) }

func (l *watchedLogs) StoreLogs(entries []*raft.Log) error {
	return l.note(l.LogStore.StoreLogs(entries))
}

func (l *watchedLogs) note(err error) error {
	at := int64(0)
	if err != nil {
		at = time.Now().UnixNano()
	}
	l.failedAt.Store(at)
	return err
}

// sickAt reports whether the disk has failed within a time before now.
func (l *watchedLogs) sickAt(now time.Time, within time.Duration) bool {
	at := l.failedAt.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < within
}
