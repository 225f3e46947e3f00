package raftstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// lockWait is how long the log's lock is waited for: a predecessor that is shutting down needs a moment.
	lockWait        = 2 * time.Second
	logCacheEntries = 512
	keepSnapshots   = 2
)

// Keys of the stable store beside Raft's own.
var (
	keyOwnID       = []byte("OwnID")       // id under which the directory was last used
	keyOrigin      = []byte("Origin")      // origin of the cluster that the state belongs to
	keyIncarnation = []byte("Incarnation") // drawn when the directory was created
	keyFounders    = []byte("Founders")    // incarnations that were seen empty before the bootstrap
)

// disk is what lies under a Store's directory.
type disk struct {
	bolt      *raftboltdb.BoltStore
	logs      raft.LogStore
	watched   *watchedLogs // under logs
	snapshots raft.SnapshotStore
}

func openDisk(dir string, logger hclog.Logger) (*disk, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create raft directory: %w", err)
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"),
		BoltOptions: &bbolt.Options{
			Timeout:        lockWait,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open raft log in %s: %w", dir, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open raft log in %s: %w", dir, err)
	}
	watched := &watchedLogs{LogStore: bolt}
	logs, err := raft.NewLogCache(logCacheEntries, watched)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnapshots, logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open raft snapshots in %s: %w", dir, err), bolt.Close())
	}
	return &disk{bolt: bolt, logs: logs, watched: watched, snapshots: snapshots}, nil
}

func (d *disk) close() error { return d.bolt.Close() }

// ownID returns the id under which the directory was last used, "" if it never was.
func (d *disk) ownID() (string, error) {
	id, err := d.bolt.Get(keyOwnID)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return "", nil
	}
	return string(id), err
}

func (d *disk) setOwnID(id string) error { return d.bolt.Set(keyOwnID, []byte(id)) }

// incarnation returns what tells this directory from another one that the same server had before.
func (d *disk) incarnation() (string, error) {
	stored, err := d.bolt.Get(keyIncarnation)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		stored = []byte(rand.Text())
		err = d.bolt.Set(keyIncarnation, stored)
	}
	return string(stored), err
}

// founders returns the incarnations that took part in the bootstrap, as far as this server saw.
func (d *disk) founders() ([]string, error) {
	stored, err := d.bolt.Get(keyFounders)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, nil
	}
	return strings.Fields(string(stored)), err
}

func (d *disk) setFounders(incarnations []string) error {
	return d.bolt.Set(keyFounders, []byte(strings.Join(incarnations, " ")))
}

// origin returns the origin of the cluster that the state belongs to.
func (d *disk) origin() (origin, error) {
	stored, err := d.bolt.Get(keyOrigin)
	if err == nil && len(stored) != len(origin{}) {
		err = fmt.Errorf("origin of %d bytes", len(stored))
	}
	if err != nil {
		return origin{}, err
	}
	return origin(stored), nil
}

func (d *disk) setOrigin(o origin) error { return d.bolt.Set(keyOrigin, o[:]) }

// machineAdapter gives a StateMachine the shape that raft wants.
type machineAdapter struct{ machine StateMachine }

func (a machineAdapter) Apply(entry *raft.Log) any { return a.machine.Apply(entry.Data) }

func (a machineAdapter) Snapshot() (raft.FSMSnapshot, error) {
	state, err := a.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshotAdapter{state}, nil
}

// Restore leaves closing to raft, which does it whatever happens here.
func (a machineAdapter) Restore(from io.ReadCloser) error { return a.machine.Restore(from) }

type snapshotAdapter struct{ state io.WriterTo }

func (s snapshotAdapter) Persist(sink raft.SnapshotSink) error {
	if _, err := s.state.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (snapshotAdapter) Release() {}

// blindMachine lets raft read the configuration in a directory without touching the real state.
type blindMachine struct{}

func (blindMachine) Apply(*raft.Log) any                 { return nil }
func (blindMachine) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.ErrUnsupported }
func (blindMachine) Restore(io.ReadCloser) error         { return nil }
