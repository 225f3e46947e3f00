package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weed/replication"
)

// Errors of Serve and Accept.
var (
	// ErrSelf means that the other end says that it is this server.
	ErrSelf = errors.New("a connection from the server itself")
	// ErrReplaced means that the server at the other end has begun a newer connection.
	ErrReplaced = errors.New("replaced by a newer connection")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("links are closed")
)

// A Handler takes what arrives. Calls for one server do not overlap, but for those that follow on a Flush that takes long;
// calls for several servers may.
type Handler interface {
	// Receive takes a frame. Message.Bytes is the handler's until Frame.Release, which has to be called for every
	// frame, and must not wait for a later one: the reader stops at Config.ReceiveBytes that are not released. While the
	// call does not return, nothing more is read from that server.
	Receive(from replication.Server, f Frame)
	// Flush says that nothing else was there to read for now. It may use the time until something is: a call that does
	// not return for some tenths of a second goes on beside those that follow.
	Flush(from replication.Server)
}

// Config is what Links need. Self, Source and Handler must be there; zero stands for the default in the others.
type Config struct {
	Self    replication.Server
	Source  Source
	Handler Handler
	// Dial connects to an address; by default over TCP.
	Dial   func(ctx context.Context, addr string) (net.Conn, error)
	Logger *slog.Logger

	// QueueFrames bounds what waits for one server: 4096.
	QueueFrames int
	// ReceiveBytes bounds the memory for each connection of what was received and not released: 8 MiB, and at least
	// twice MaxFrame.
	ReceiveBytes int
	// DialTimeout is for the connection and its handshake: 2 s.
	DialTimeout time.Duration
	// StallTimeout is how long the other end may take nothing, or acknowledge nothing, of what was written: 5 s. It
	// acts after half of that at the earliest.
	StallTimeout time.Duration
	// MinBackoff and MaxBackoff are the shortest and the longest pause before the next attempt to connect: 50 ms, 1 s.
	MinBackoff, MaxBackoff time.Duration
}

func (c *Config) fill() {
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value      *time.Duration
		preference time.Duration
	}{
		{&c.DialTimeout, 2 * time.Second}, {&c.StallTimeout, 5 * time.Second},
		{&c.MinBackoff, 50 * time.Millisecond}, {&c.MaxBackoff, time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.preference
		}
	}
	if c.QueueFrames <= 0 {
		c.QueueFrames = 4096
	}
	if c.ReceiveBytes <= 0 {
		c.ReceiveBytes = 8 << 20
	}
	c.ReceiveBytes = max(c.ReceiveBytes, 2*MaxFrame)
}

// Links are the connections of a server with the others.
type Links struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // writers and calls of Serve

	mu     sync.RWMutex // guards the rest
	peers  map[replication.Server]*peer
	in     map[replication.Server]*inbound
	closed bool
}

// New makes links that connect when there is something to send. Close ends them.
func New(cfg Config) *Links {
	cfg.fill()
	l := &Links{cfg: cfg, peers: map[replication.Server]*peer{}, in: map[replication.Server]*inbound{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Send has frames sent to another server, in order, as far as there is room for them. It never blocks. What can't be
// sent is dropped: the protocol repeats.
func (l *Links) Send(to replication.Server, frames ...Frame) {
	l.mu.RLock()
	p := l.peers[to]
	l.mu.RUnlock()
	if p == nil {
		if p = l.add(to); p == nil {
			return
		}
	}
	p.send(frames)
}

// add begins with a server. It returns nil after Close.
func (l *Links) add(to replication.Server) *peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[to]
	if p == nil && !l.closed {
		p = newPeer(l, to)
		l.peers[to] = p
		l.wg.Go(p.run)
	}
	return p
}

// Close ends all connections and waits: neither the Source nor the Handler is called after it. So it must not be
// called by them.
func (l *Links) Close() error {
	l.mu.Lock()
	l.closed = true
	l.cancel()
	for _, p := range l.peers {
		p.close()
	}
	for _, in := range l.in {
		in.close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// Peer tells how sending to a server goes. The numbers are those since New.
type Peer struct {
	Server    replication.Server
	Connected bool
	Queued    int    // frames that wait
	Frames    uint64 // written
	Bytes     uint64 // written
	Writes    uint64 // system calls for them
	Dropped   uint64 // frames for which there was no room, no connection or no log
}

// Peers tells about all servers to which something was sent, by name.
func (l *Links) Peers() []Peer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := make([]Peer, 0, len(l.peers))
	for _, p := range l.peers {
		all = append(all, p.status())
	}
	slices.SortFunc(all, func(a, b Peer) int { return strings.Compare(string(a.Server), string(b.Server)) })
	return all
}

// counters of a peer.
type counters struct {
	frames, bytes, writes, dropped atomic.Uint64
}
