package raftstore

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// fussyLogs stores what it is told to.
type fussyLogs struct {
	raft.LogStore
	err error
}

func (l *fussyLogs) StoreLog(*raft.Log) error    { return l.err }
func (l *fussyLogs) StoreLogs([]*raft.Log) error { return l.err }

// TestSickServerAsksForNoVotes: from a failure of the disk on until it takes something again, or for a while.
func TestSickServerAsksForNoVotes(t *testing.T) {
	disk := &fussyLogs{}
	logs := &watchedLogs{LogStore: disk}
	sick := func(later time.Duration) bool { return logs.sickAt(time.Now().Add(later), time.Minute) }
	m := voting{sick: func() bool { return sick(0) }}
	if err := logs.StoreLogs(nil); err != nil || sick(0) {
		t.Error(err, "sick from the beginning")
	}
	disk.err = errors.New("no space left")
	if err := logs.StoreLogs(nil); !errors.Is(err, disk.err) || !sick(0) || !sick(50*time.Second) || sick(2*time.Minute) {
		t.Error(err, "not sick after a failure, or for ever")
	}
	if err := m.RequestVote("", "", nil, nil); !errors.Is(err, errSick) {
		t.Error(err)
	}
	if err := m.RequestPreVote("", "", nil, nil); !errors.Is(err, errSick) {
		t.Error(err)
	}
	disk.err = nil
	if err := logs.StoreLog(nil); err != nil || sick(0) {
		t.Error(err, "sick though the disk takes entries")
	}
}
