// Package cassandra is the filer's store for several filers on one namespace: an Apache Cassandra (4.1 or later).
//
// It owns the tables of one keyspace, which SCHEMA.md describes, and the protocol that makes changes of several
// partitions one. Every change is decided by one lightweight transaction (LWT) in one partition, so it is whole or
// absent whatever dies. What a change needs in other partitions is locked before, by an LWT each, with a reference
// to the token that the decision writes; whoever meets a lock reads the token, and can settle the change without its
// owner: as it was decided, or so that it never will be. No clock decides anything.
//
// An LWT that times out is never sent a second time if it could be done twice. Its outcome is settled by reading, and
// store.ErrUnavailable where that can't tell.
//
//	s, err := cassandra.Open(ctx, cassandra.Config{Hosts: []string{"10.0.0.1:9042"}}, store.Options{FIDs: filer.FIDs})
package cassandra

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// Config says which keyspace of which cluster keeps the tree. All filers of a tree have the same one but for Hosts.
type Config struct {
	Hosts    []string // host or host:port (9042) of some nodes: the others are learned from them, on the first one's port
	Keyspace string   // DefaultKeyspace if empty; ValidKeyspace says what it may be
	// CreateSchema makes the keyspace and the tables that are missing.
	CreateSchema bool
	// Replication is the keyspace's replication when it is created, in CQL; "" is one copy of everything,
	// {'class': 'SimpleStrategy', 'replication_factor': 1}, or one in LocalDC.
	Replication string
	// LocalDC, unless "", is the name of the data center whose copies decide alone: QUORUM and SERIAL become
	// LOCAL_QUORUM and LOCAL_SERIAL, and no node of another one is asked.
	LocalDC            string
	Username, Password string // of PasswordAuthenticator, "" for none
	// TLS encrypts the connections, unless it is nil. The certificate of each node has to be for its address.
	TLS *tls.Config
	// Timeout bounds a call of the store, 20 s if 0; a request to a node is given a quarter of it.
	Timeout time.Duration
	// Patience is how long a change of another filer may be in the way before it is called off, 3 s if 0.
	Patience time.Duration

	dialer gocql.Dialer // nil for the driver's
}

// DefaultKeyspace is that of a Config without one.
const DefaultKeyspace = "seaweed"

// ValidKeyspace reports whether a name is one of a keyspace: a lower-case letter, then up to 47 of those, digits and "_".
func ValidKeyspace(name string) bool { return keyspaceName.MatchString(name) }

var keyspaceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`)

// fill puts in the defaults and checks.
func (c *Config) fill() error {
	if c.Keyspace == "" {
		c.Keyspace = DefaultKeyspace
	}
	if c.Replication == "" {
		c.Replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
		if c.LocalDC != "" {
			c.Replication = "{'class': 'NetworkTopologyStrategy', '" + c.LocalDC + "': 1}"
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second
	}
	switch {
	case len(c.Hosts) == 0:
		return errors.New("no host of Cassandra is given")
	case strings.ContainsAny(c.LocalDC, "'\\"):
		return fmt.Errorf("data center %q: no name has a quote in it", c.LocalDC)
	case !ValidKeyspace(c.Keyspace):
		return fmt.Errorf("keyspace %q: want a lower-case letter, then letters, digits and _", c.Keyspace)
	case c.Timeout < 0 || c.Patience < 0:
		return errors.New("a time is negative")
	}
	return nil
}

// stripes is the number of locks that keep this process from contending with itself for a partition.
const stripes = 512

// Store is a store.Store on a Cassandra keyspace.
type Store struct {
	cfg     Config
	opts    store.Options
	session *gocql.Session
	quorum  gocql.Consistency
	serial  gocql.Consistency
	stripes [stripes]chan struct{}
	seen    sightings

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup // calls and what they have left to do behind them
}

var _ store.Store = (*Store)(nil)

// Open connects to the cluster. store.ErrUnavailable says that it does not answer.
func Open(ctx context.Context, cfg Config, opts store.Options) (*Store, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, opts: opts, quorum: gocql.Quorum, serial: gocql.Serial}
	if cfg.LocalDC != "" {
		s.quorum, s.serial = gocql.LocalQuorum, gocql.LocalSerial
	}
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	s.seen.first = make(map[string]time.Time)
	cluster, err := s.cluster()
	if err != nil {
		return nil, err
	}
	session, err := cluster.CreateSession()
	if err != nil {
		if cfg.LocalDC != "" {
			err = fmt.Errorf("%w (nodes of data center %s only)", err, cfg.LocalDC)
		}
		return nil, fmt.Errorf("connect to Cassandra at %s: %w: %w", strings.Join(cfg.Hosts, ","), store.ErrUnavailable, err)
	}
	s.session = session
	ctx, cancel := context.WithTimeout(ctx, 3*cfg.Timeout) // a schema takes its time
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		session.Close()
		return nil, err
	}
	return s, nil
}

// cluster configures the driver, which sends nothing twice by itself: it has no retry policy.
func (s *Store) cluster() (*gocql.ClusterConfig, error) {
	cfg := s.cfg
	cluster := gocql.NewCluster(cfg.Hosts...)
	if _, port, err := net.SplitHostPort(cfg.Hosts[0]); err == nil { // nodes that are learned of have the same one
		if cluster.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("port of %s: %w", cfg.Hosts[0], err)
		}
	}
	cluster.Consistency, cluster.SerialConsistency = s.quorum, s.serial
	if cfg.LocalDC != "" { // local is what is near to the node that is asked
		cluster.HostFilter = gocql.DataCenterHostFilter(cfg.LocalDC)
	}
	cluster.DefaultTimestamp = false // the servers' clocks order what is no LWT
	cluster.Timeout, cluster.ConnectTimeout, cluster.WriteTimeout = cfg.Timeout/4, cfg.Timeout/4, cfg.Timeout/4
	cluster.ReconnectInterval = time.Second
	cluster.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 2, Interval: 200 * time.Millisecond}
	cluster.Dialer = cfg.dialer
	if cfg.Username != "" {
		cluster.Authenticator = gocql.PasswordAuthenticator{Username: cfg.Username, Password: cfg.Password}
	}
	if cfg.TLS != nil {
		cluster.SslOpts = &gocql.SslOptions{Config: cfg.TLS}
	}
	return cluster, nil
}

// enter begins a call: its context ends with the time-out. leave must be called.
func (s *Store) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, store.ErrClosed
	}
	s.calls.Add(1)
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	return ctx, func() { cancel(); s.calls.Done() }, nil
}

// behind does what is left of a call that has been answered. If it fails, others do it when they meet what is left.
func (s *Store) behind(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Timeout)
	s.calls.Go(func() {
		defer cancel()
		do(ctx)
	})
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = s.statics(ctx, rootPart)
	return err
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	if first {
		s.session.Close()
	}
	return nil
}

// sightings remember since when this process has seen something that others may still be busy with.
type sightings struct {
	mu    sync.Mutex
	first map[string]time.Time
}

// maxSightings bounds the memory: what is forgotten is waited for again.
const maxSightings = 100_000

// longer reports whether a thing was seen first longer ago than d.
func (s *sightings) longer(thing string, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	first, ok := s.first[thing]
	if !ok {
		if len(s.first) >= maxSightings {
			clear(s.first)
		}
		s.first[thing], first = now, now
	}
	return now.Sub(first) >= d
}

// forget ends what longer has begun.
func (s *sightings) forget(thing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.first, thing)
}
