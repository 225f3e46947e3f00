package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/master/state"
	"weed/raftstore"
)

// ErrConfig is the kind of every complaint about a Config.
var ErrConfig = errors.New("invalid configuration")

// Bounds that no one needs to set.
const (
	maxCount        = 1_000_000 // fids in one assign
	submitLimit     = 256 << 20 // bytes of one /submit body, and of all in flight
	heartbeatLimit  = 64 << 20  // bytes of one heartbeat: more than 100,000 volumes
	heartbeatBudget = 128 << 20 // bytes of heartbeats in flight
	formLimit       = 1 << 20   // bytes of a form

	raftTimeout  = 5 * time.Second  // of one proposal
	orderTimeout = 15 * time.Second // of one order to a volume server
)

// Config says what a Master is. The zero value of a field means its default.
type Config struct {
	// Address is the host:port that others are told (127.0.0.1:9333).
	Address string
	// Bind is the host:port to listen on (Address).
	Bind string
	// MetaDir is the directory of the Raft log and snapshots (the current one). It is made when missing.
	MetaDir string
	// Peers lists the masters of the cluster to be, host:port each (none: this one alone).
	Peers []string
	// VolumeSizeLimitBytes is the size from which a volume is assigned no more blobs (30000 MiB).
	VolumeSizeLimitBytes uint64
	// DefaultReplication is the placement of blobs whose assign names none (000).
	DefaultReplication blob.Placement
	// Pulse is the time between two heartbeats of a volume server (5 s).
	Pulse time.Duration
	// RepairDelay is how long a copy may be missing before another server gets one (10 min).
	RepairDelay time.Duration
	// GarbageThreshold is the share of a volume's bytes, 0 to 1, that must be deleted for a vacuum (0.3).
	GarbageThreshold float64
	// IdleTimeout is how long a connection may make no progress (30 s).
	IdleTimeout time.Duration
	// MaxConns bounds open connections (what the limit of open files allows).
	MaxConns int
	// Guard lists who may write (nil: everybody).
	Guard *httpx.Guard
	// Version is what /dir/status and others show.
	Version string
}

func (c Config) withDefaults() (Config, error) {
	if c.Address == "" {
		c.Address = "127.0.0.1:9333"
	}
	if c.Bind == "" {
		c.Bind = c.Address
	}
	if c.MetaDir == "" {
		c.MetaDir = "."
	}
	if c.VolumeSizeLimitBytes == 0 {
		c.VolumeSizeLimitBytes = 30000 << 20
	}
	if c.Pulse == 0 {
		c.Pulse = 5 * time.Second
	}
	if c.RepairDelay == 0 {
		c.RepairDelay = 10 * time.Minute
	}
	if c.GarbageThreshold == 0 {
		c.GarbageThreshold = 0.3
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 30 * time.Second
	}
	for _, address := range []string{c.Address, c.Bind} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return c, fmt.Errorf("%w: %q is not host:port", ErrConfig, address)
		}
	}
	if !(c.GarbageThreshold > 0 && c.GarbageThreshold <= 1) {
		return c, fmt.Errorf("%w: a garbage threshold of %g is not a share from 0 to 1", ErrConfig, c.GarbageThreshold)
	}
	if c.Pulse < 0 || c.IdleTimeout < 0 || c.RepairDelay < 0 {
		return c, fmt.Errorf("%w: a time is negative", ErrConfig)
	}
	return c, nil
}

// Deps are what a Master works with. The zero value of a field means its default.
type Deps struct {
	Logger   *slog.Logger         // nil: discard
	Registry *prometheus.Registry // of /metrics; nil: one of its own
	Now      func() time.Time     // the clock by which servers expire; nil: time.Now
	Listener net.Listener         // nil: one on Config.Bind; Run closes it
	// RaftTimeouts are those of the Raft protocol, for tests that cannot wait.
	RaftTimeouts raftstore.Timeouts
}

// Master is one master server.
type Master struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	machine *state.Machine
	submits *httpx.Budget
	beats   *httpx.Budget
	client  *client.Client
	store   *raftstore.Store // from Run on
	calls   context.Context  // of calls to volume servers; ends when Run has drained

	cookies    cookies
	turn       atomic.Uint32              // rotates redirects over the replicas
	allegiance atomic.Pointer[allegiance] // nil before Run
	term       atomic.Pointer[term]       // nil while this master does not lead or has not caught up
	addr       atomic.Pointer[string]
}

// New checks the configuration and returns a Master that has touched nothing yet. It fails with ErrConfig.
func New(cfg Config, deps Deps) (*Master, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Registry == nil {
		deps.Registry = prometheus.NewRegistry()
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	m := &Master{
		cfg: cfg, deps: deps, log: deps.Logger, machine: state.New(),
		submits: httpx.NewBudget(submitLimit, 0), beats: httpx.NewBudget(heartbeatBudget, 0),
	}
	m.metrics, err = newMetrics(deps.Registry, m)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// Addr returns the address that Run listens on, "" before it does.
func (m *Master) Addr() string {
	if addr := m.addr.Load(); addr != nil {
		return *addr
	}
	return ""
}

// Run serves until ctx ends, then answers the requests under way, ends what it has started and returns nil.
// Any other return is a failure to start or of the listener. A Master runs once.
func (m *Master) Run(ctx context.Context) (err error) {
	ln := m.deps.Listener
	if ln == nil {
		if ln, err = httpx.Listen(m.cfg.Bind); err != nil {
			return err
		}
	}
	addr := ln.Addr().String()
	m.addr.Store(&addr)
	mux := httpx.SplitRaft(ln, m.cfg.IdleTimeout, m.cfg.Guard, m.log)
	defer func() { err = errors.Join(err, mux.Close()) }()

	calls, endCalls := context.WithCancel(context.Background())
	defer endCalls()
	m.calls = calls
	if m.client, err = client.New(client.Config{MaxConnsPerHost: 1024}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.client.Close()) }()

	m.store, err = raftstore.Open(raftstore.Config{
		Dir: filepath.Join(m.cfg.MetaDir, "raft"), ID: m.cfg.Address, Peers: m.cfg.Peers, Listener: mux.Raft(),
		Timeouts: m.deps.RaftTimeouts, Logger: m.log,
	}, m.machine)
	if err != nil {
		return fmt.Errorf("open the master's state in %s: %w", m.cfg.MetaDir, err)
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()

	leading, stopLeading := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		var watch sync.WaitGroup
		watch.Go(func() { m.followLeader(leading) })
		m.followLeadership(leading)
		watch.Wait()
	}()
	defer func() {
		stopLeading()
		endCalls()
		<-followed
	}()

	m.log.Info("master listens", "address", addr, "advertised", m.cfg.Address, "metaDir", m.cfg.MetaDir)
	server := httpx.New(httpx.Config{
		Name: "master", Handler: m.route, IdleTimeout: m.cfg.IdleTimeout, MaxConns: m.cfg.MaxConns, Guard: m.cfg.Guard, Logger: m.log,
	})
	return server.Serve(ctx, mux.HTTP())
}
