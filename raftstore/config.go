package raftstore

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// DialByte is the first byte of every connection that one Store opens to another. No HTTP request begins
// with it. The owner of the shared port consumes it before Config.Listener hands the connection out.
const DialByte = 0x01

// Config says where a Store lives and who it is. Dir, ID and Listener are required; the zero value of the
// rest means the defaults.
type Config struct {
	// Dir holds the log (raft.db) and the snapshots. It is created when it is missing.
	Dir string
	// ID is the host:port that other servers reach this one by.
	ID string
	// Peers lists the servers of the cluster to be, each as host:port, with or without this one. It matters
	// only until the directory has state, and afterwards to find the cluster that this server is no longer
	// a member of.
	Peers []string
	// Listener yields the incoming connections whose first byte, already consumed, was DialByte. The Store
	// closes it.
	Listener net.Listener
	// Dial opens a connection to a server; DialByte is not yet sent on it. Nil means TCP.
	Dial func(address string, timeout time.Duration) (net.Conn, error)
	// Timeouts of the protocol; they should be alike on all servers.
	Timeouts Timeouts
	// SnapshotEvery is the number of commands after which a snapshot replaces the log (default 8192). As
	// many are kept, so that a server that was away for a moment needs no snapshot.
	SnapshotEvery uint64
	// Logger takes what Raft says. Nil discards it.
	Logger *slog.Logger
}

// Timeouts are those of the Raft protocol.
type Timeouts struct {
	// Heartbeat is how long a follower goes without word of the leader before it stands for election, and a
	// leader without hearing from a majority before it steps down (default 1 s). Followers draw their wait
	// between that and half as long again.
	Heartbeat time.Duration
	// Election is how long a candidate waits for votes, at least Heartbeat (default 1 s).
	Election time.Duration
	// Lease is how long after the beginning of a successful VerifyLeader the leader can rely on it that
	// nobody else leads, at most Heartbeat (default 800 ms).
	Lease time.Duration
	// Request bounds the exchange of a request and its reply between servers (default 5 s).
	Request time.Duration
}

// StateMachine is what the commands act on. Apply, Restore and the call of Snapshot never overlap; reads by
// others may happen at any time, so an implementation locks.
type StateMachine interface {
	// Apply changes the state by one committed command and returns what Propose hands to the proposer; a
	// result that is an error becomes Propose's error. It must be deterministic, may not block and may not
	// keep command.
	Apply(command []byte) any
	// Snapshot returns the state as it is now. What it returns is written later, while commands go on being
	// applied, and so must not change with them.
	Snapshot() (io.WriterTo, error)
	// Restore replaces the whole state, whatever it was, by a snapshot's. On error the state is unchanged.
	Restore(io.Reader) error
}

func (c Config) withDefaults() (Config, error) {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&c.Timeouts.Heartbeat, time.Second)
	set(&c.Timeouts.Election, c.Timeouts.Heartbeat)
	set(&c.Timeouts.Lease, c.Timeouts.Heartbeat*4/5)
	set(&c.Timeouts.Request, 5*time.Second)
	if c.SnapshotEvery == 0 {
		c.SnapshotEvery = 8192
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dial == nil {
		c.Dial = func(address string, timeout time.Duration) (net.Conn, error) {
			return net.DialTimeout("tcp", address, timeout)
		}
	}
	if t := c.Timeouts; t.Lease > t.Heartbeat || t.Heartbeat > t.Election {
		return c, fmt.Errorf("%w: time-outs must grow from lease %v over heartbeat %v to election %v",
			ErrConfig, t.Lease, t.Heartbeat, t.Election)
	}
	if c.Dir == "" {
		return c, fmt.Errorf("%w: a directory is needed", ErrConfig)
	}
	if c.Listener == nil {
		return c, fmt.Errorf("%w: a listener is needed", ErrConfig)
	}
	if err := checkAddress(c.ID); err != nil {
		return c, err
	}
	for _, peer := range c.Peers {
		if err := checkAddress(peer); err != nil {
			return c, err
		}
	}
	return c, nil
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || port == "0" {
		return fmt.Errorf("%w: %q is not a host:port that others could dial", ErrConfig, address)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%w: %q is an address to listen on, not one that others could dial", ErrConfig, address)
	}
	return nil
}
