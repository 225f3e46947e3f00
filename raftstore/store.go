package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Store is one server of a Raft cluster. Its methods may be called concurrently.
type Store struct {
	cfg    Config
	logger *slog.Logger
	peers  []string // ids of the cluster to be, this one's among them
	disk   *disk
	// incarnation is that of the directory.
	incarnation string
	stream      *stream
	raft        *raft.Raft
	transport   *raft.NetworkTransport

	// readyTerm is the term in which this server, as leader, has applied all that was committed before.
	readyTerm atomic.Uint64
	readySlot chan struct{} // one Barrier at a time

	background sync.WaitGroup // goroutines of the Store itself
	cancel     context.CancelFunc
	calls      sync.WaitGroup // calls that wait for Raft

	mu      sync.Mutex // guards what follows
	closed  bool
	changed chan struct{} // closed and replaced at every change of leadership

	closeOnce sync.Once
	closeErr  error
}

// Open opens or creates the server's state under cfg.Dir and takes part in the cluster. It returns at once;
// a leader may come later, or never while a majority is missing. machine must be empty: it is brought to the
// state of the last snapshot before Open returns, and to that of the log once there is a leader.
//
// Errors: ErrConfig, ErrInUse, *AddressChangedError, or those of the disk. The Listener is closed on error.
func Open(cfg Config, machine StateMachine) (_ *Store, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		if cfg.Listener != nil {
			err = errors.Join(err, cfg.Listener.Close())
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		cfg: cfg, logger: cfg.Logger,
		peers:     memberList(ctx, cfg.ID, cfg.Peers, net.DefaultResolver.LookupHost),
		stream:    newStream(cfg),
		readySlot: make(chan struct{}, 1),
		cancel:    cancel,
		changed:   make(chan struct{}),
	}
	s.stream.admit = s.serveAdmission
	bridge := &logBridge{to: cfg.Logger, name: "raft"}
	s.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s.stream, MaxPool: 3, Timeout: cfg.Timeouts.Request, Logger: bridge, MsgpackUseNewTimeFormat: true,
		// One by one: the library's pipeline stands still for good when a request fails while there is another one to send.
		// The follower gets nothing more from this leader then, and the leader can't be closed.
		MaxRPCsInFlight: 1,
	})
	defer func() {
		if err != nil {
			cancel()
			_ = s.transport.Close()
			if s.disk != nil {
				err = errors.Join(err, s.disk.close())
			}
		}
	}()
	if s.disk, err = openDisk(cfg.Dir, bridge); err != nil {
		return nil, err
	}
	if s.incarnation, err = s.disk.incarnation(); err != nil {
		return nil, fmt.Errorf("read incarnation in %s: %w", cfg.Dir, err)
	}
	rc := s.raftConfig(bridge)
	members, err := s.prepare(*rc, s.transport, machine)
	if err != nil {
		return nil, err
	}
	sick := func() bool { return s.disk.watched.sickAt(time.Now(), sickTime*cfg.Timeouts.Heartbeat) }
	s.raft, err = raft.NewRaft(rc, machineAdapter{machine}, s.disk.logs, s.disk.bolt, s.disk.snapshots,
		voting{NetworkTransport: s.transport, sick: sick, again: cfg.Timeouts.Heartbeat * 7 / 10, closing: ctx.Done()})
	if err != nil {
		return nil, fmt.Errorf("start raft in %s: %w", cfg.Dir, err)
	}
	s.run(ctx, members)
	return s, nil
}

// raftConfig returns the configuration with time-outs one millisecond longer than asked for, so that look can
// shorten them.
func (s *Store) raftConfig(bridge *logBridge) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(s.cfg.ID)
	rc.HeartbeatTimeout = s.cfg.Timeouts.Heartbeat + time.Millisecond
	rc.ElectionTimeout = s.cfg.Timeouts.Election + time.Millisecond
	// Nobody else stands for election before that, so it is no use to give up earlier. Who decides by
	// Timeouts.Lease has stopped deciding by then.
	rc.LeaderLeaseTimeout = s.cfg.Timeouts.Heartbeat
	rc.CommitTimeout = min(rc.CommitTimeout, s.cfg.Timeouts.Heartbeat/10)
	rc.SnapshotThreshold = s.cfg.SnapshotEvery
	rc.TrailingLogs = s.cfg.SnapshotEvery
	rc.SnapshotInterval = 30 * time.Second
	// A server that is taken out goes on listening, so that it can say so and can be added again.
	rc.ShutdownOnRemove = false
	rc.NoLegacyTelemetry = true
	rc.Logger = bridge
	return rc
}

// run starts what goes on in the background.
func (s *Store) run(ctx context.Context, members []string) {
	observations := make(chan raft.Observation, 16)
	observer := raft.NewObserver(observations, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	s.raft.RegisterObserver(observer)
	s.background.Go(func() {
		defer s.raft.DeregisterObserver(observer)
		s.followLeadership(ctx, observations)
	})
	s.background.Go(func() { s.watchLeader(ctx) })
	s.keepQuiet(ctx, members)
	s.stream.start()
	if len(s.peers) > 1 {
		s.background.Go(func() { s.seekAdmission(ctx) })
	}
	if len(members) == 1 && members[0] == s.cfg.ID {
		s.look() // nobody else can lead, so there is nobody to wait for
	}
}

// followLeadership announces every change of leader or role.
func (s *Store) followLeadership(ctx context.Context, observations <-chan raft.Observation) {
	last := ""
	for {
		if leader, _ := s.Leader(); leader != last {
			s.logger.Info("raft: leader changed", "leader", leader, "self", s.cfg.ID)
			last = leader
		}
		s.announce()
		select {
		case <-ctx.Done():
			return
		case <-observations:
		}
	}
}

func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// LeaderChanges returns a channel that is closed at the next change of leader or of this server's role, and
// when the Store closes. Take the channel first, then ask Leader or IsLeader: nothing is missed.
func (s *Store) LeaderChanges() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// ID returns the address under which this server is known.
func (s *Store) ID() string { return s.cfg.ID }

// IsLeader says whether this server believes that it leads. It may have been deposed a moment ago; a
// proposal or VerifyLeader tells for sure.
func (s *Store) IsLeader() bool { return s.raft.State() == raft.Leader }

// Term returns the number of Raft's present term, which grows with every election. A server that leads now and
// did so before in the same term has led all the time between.
func (s *Store) Term() uint64 { return s.raft.CurrentTerm() }

// Leader returns the advertised host:port of the leader as far as this server knows; false while there is
// none.
func (s *Store) Leader() (string, bool) {
	_, id := s.raft.LeaderWithID()
	return string(id), id != ""
}

// begin counts a call that is going to wait for Raft; the caller must call s.calls.Done.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}

// Close hands leadership to another voter if this server leads and there is one, stops taking part, and
// waits until everything has ended. Calls that are waiting get their answer first. Further calls of Close
// return what the first one did.
func (s *Store) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.cancel()
	s.background.Wait()
	if voters, _ := s.voters(); s.IsLeader() && len(voters) > 1 {
		if err := s.raft.LeadershipTransfer().Error(); err != nil {
			s.logger.Warn("raft: leadership not handed over", "error", err)
		}
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	ended := s.raft.Shutdown()
	// Raft waits for requests that are under way, those too that nobody answers.
	err := errors.Join(s.transport.Close(), ended.Error())
	s.stream.wait()
	s.announce()
	return errors.Join(err, s.disk.close())
}

// configuration returns the servers of the latest configuration, which may not be committed yet.
func (s *Store) configuration() []raft.Server {
	future := s.raft.GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}
