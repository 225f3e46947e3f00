package raftstore

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A connection's second byte names its channel.
const (
	channelRaft  = 0 // followed by the origin, then Raft's own RPC
	channelAdmit = 1 // followed by one request
)

// origin tells clusters apart. It comes with the bootstrap and stays.
type origin [16]byte

// maxStrangers bounds the connections that are not, or not yet, Raft's, so that those that say nothing
// cost little.
const maxStrangers = 64

// stream is the raft.StreamLayer: it sorts accepted connections by channel, keeps Raft's traffic out until
// this server may take part, and ends every connection when the Store closes.
type stream struct {
	ln        net.Listener
	id        string
	dial      func(address string, timeout time.Duration) (net.Conn, error)
	timeout   time.Duration          // to name the channel
	admit     func(conn net.Conn)    // serves a connection of channelAdmit
	origin    atomic.Pointer[origin] // only servers of this origin reach Raft; nil: none do
	raftIn    chan net.Conn          // to raft.NetworkTransport
	quiet     <-chan struct{}        // closed when connections may go there
	strangers chan struct{}          // semaphore
	done      chan struct{}          // closed by Close
	wg        sync.WaitGroup         // accept loop and accepted connections
	mu        sync.Mutex             // guards the rest
	conns     map[*peerConn]struct{}
	closed    bool
}

var _ raft.StreamLayer = (*stream)(nil)

func newStream(cfg Config) *stream {
	return &stream{
		ln: cfg.Listener, id: cfg.ID, dial: cfg.Dial, timeout: min(cfg.Timeouts.Request, 2*cfg.Timeouts.Heartbeat),
		raftIn: make(chan net.Conn), strangers: make(chan struct{}, maxStrangers),
		done: make(chan struct{}), conns: map[*peerConn]struct{}{},
	}
}

// start begins to accept. admit must be set before.
func (s *stream) start() {
	s.wg.Go(func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				select {
				case <-s.done:
					return
				case <-time.After(10 * time.Millisecond): // out of descriptors, or the owner closed the port
				}
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			select {
			case s.strangers <- struct{}{}:
			default:
				conn.Close()
				continue
			}
			if c, ok := s.track(conn, true); ok {
				go s.sort(c)
			} else {
				<-s.strangers
			}
		}
	})
}

// sort reads the channel byte and hands the connection on.
func (s *stream) sort(c *peerConn) {
	var channel [1]byte
	var theirs origin
	_ = c.SetReadDeadline(time.Now().Add(s.timeout))
	_, err := io.ReadFull(c, channel[:])
	if err == nil && channel[0] == channelRaft {
		_, err = io.ReadFull(c, theirs[:])
	}
	_ = c.SetReadDeadline(time.Time{})
	if err == nil && channel[0] == channelAdmit {
		s.admit(c)
	}
	<-s.strangers
	switch {
	case err != nil:
	case channel[0] == channelRaft:
		if ours := s.origin.Load(); ours == nil || *ours != theirs {
			break
		}
		select {
		case <-s.quiet:
		case <-s.done:
		}
		select {
		case s.raftIn <- c:
			return // Raft closes it
		case <-s.done:
		}
	}
	_ = c.Close()
}

// Accept returns the next connection of Raft's channel.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.raftIn:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Dial opens a connection to another server's Raft.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.dialChannel(string(address), channelRaft, timeout)
}

func (s *stream) dialChannel(address string, channel byte, timeout time.Duration) (net.Conn, error) {
	conn, err := s.dial(address, timeout)
	if err != nil {
		return nil, err
	}
	c, ok := s.track(conn, false)
	if !ok {
		return nil, net.ErrClosed
	}
	head := []byte{DialByte, channel}
	if channel == channelRaft {
		ours := s.origin.Load()
		if ours == nil {
			_ = c.Close()
			return nil, fmt.Errorf("dial %s: not part of a cluster", address)
		}
		head = append(head, ours[:]...)
	}
	_ = c.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := c.Write(head); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	_ = c.SetWriteDeadline(time.Time{})
	return c, nil
}

// Addr is the advertised address.
func (s *stream) Addr() net.Addr { return advertised(s.id) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// Close stops accepting and cuts every connection; wait then awaits those that serve them.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	err := s.ln.Close()
	for c := range s.conns {
		c.Conn.Close()
	}
	return err
}

func (s *stream) wait() { s.wg.Wait() }

// track makes a connection known, so that Close reaches it. It closes the connection and says false when
// the stream is closed.
func (s *stream) track(conn net.Conn, accepted bool) (*peerConn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, false
	}
	c := &peerConn{Conn: conn, stream: s, accepted: accepted}
	s.conns[c] = struct{}{}
	if accepted {
		s.wg.Add(1)
	}
	return c, true
}

// peerConn is a tracked connection. Whoever serves it calls Close as the last thing, which is how wait
// knows that it has ended.
type peerConn struct {
	net.Conn
	stream   *stream
	accepted bool
	once     sync.Once
}

// Read says EOF when this side has ended the connection, which Raft takes as the normal end.
func (c *peerConn) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

// Close closes the connection and forgets it.
func (c *peerConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.stream.mu.Lock()
		delete(c.stream.conns, c)
		c.stream.mu.Unlock()
		if c.accepted {
			c.stream.wg.Done()
		}
	})
	return err
}
