package httpx

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// RaftByte is what a Raft dialer sends first; the Mux takes it off. Any byte below 0x20 except NUL would do:
// HTTP begins with a letter.
const RaftByte = 0x01

// maxPendingConns bounds connections that have not said yet what they are.
const maxPendingConns = 4096

// A Mux shares one port between HTTP and Raft, told apart by a connection's first byte. It only peeks: both
// sides accept plain *net.TCPConn, with every fast path of theirs.
type Mux struct {
	ln    net.Listener
	idle  time.Duration
	guard *Guard
	log   *slog.Logger
	http  half
	raft  half

	mu      sync.Mutex
	pending map[net.Conn]struct{} // nil after the end
	refused time.Time             // when one was logged last
	open    int                   // halves that still accept
	done    chan struct{}
	wg      sync.WaitGroup
	once    sync.Once
}

// SplitRaft takes over ln, which must be TCP, and sorts what it accepts. A connection that says nothing in
// idleTimeout (0 = 30 s) is closed, and so is one of Raft from an address that guard does not list. Closing one listener refuses its kind from then on; when both are
// closed, or Close is called, so is ln. log may be nil.
func SplitRaft(ln net.Listener, idleTimeout time.Duration, guard *Guard, log *slog.Logger) *Mux {
	if idleTimeout <= 0 {
		idleTimeout = defaultIdleTimeout
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := &Mux{ln: ln, idle: idleTimeout, guard: guard, log: log, pending: make(map[net.Conn]struct{}), open: 2, done: make(chan struct{})}
	m.http.init(m)
	m.raft.init(m)
	m.wg.Go(m.accept)
	return m
}

// HTTP returns the listener of connections that begin with anything but a Raft byte.
func (m *Mux) HTTP() net.Listener { return &m.http }

// Raft returns the listener of connections that began with a byte below 0x20; that byte is taken off.
func (m *Mux) Raft() net.Listener { return &m.raft }

// Close ends both listeners and the one below, closes what is undecided, and waits.
func (m *Mux) Close() error {
	m.shut(nil)
	m.wg.Wait()
	return nil
}

// shut ends the Mux, and both halves with err as their reason (nil: closed).
func (m *Mux) shut(err error) {
	m.once.Do(func() {
		close(m.done)
		_ = m.ln.Close()
		m.http.end(err)
		m.raft.end(err)
		m.mu.Lock()
		for c := range m.pending {
			_ = c.Close()
		}
		m.pending = nil
		m.mu.Unlock()
	})
}

func (m *Mux) accept() {
	for {
		nc, err := m.ln.Accept()
		if err != nil {
			if isPassing(err) && lull(m.done) {
				m.log.Warn("can't accept connections for the moment", "err", err)
				continue
			}
			m.shut(err)
			return
		}
		tcp, ok := nc.(*net.TCPConn)
		if !ok || !m.enter(tcp) {
			_ = nc.Close()
			continue
		}
		m.wg.Go(func() { m.sort(tcp) })
	}
}

// enter notes an undecided connection, unless there are too many of them or the Mux is closed.
func (m *Mux) enter(c *net.TCPConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending == nil || len(m.pending) >= maxPendingConns {
		return false
	}
	m.pending[c] = struct{}{}
	return true
}

// sort waits for the first byte and hands the connection on.
func (m *Mux) sort(c *net.TCPConn) {
	first, err := m.classify(c)
	m.mu.Lock()
	delete(m.pending, c)
	m.mu.Unlock()
	switch {
	case err != nil || first == 0:
		_ = c.Close()
	case first < 0x20 && !m.guard.Listed(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()):
		m.refuse(c)
	case first < 0x20:
		m.raft.offer(c)
	default:
		m.http.offer(c)
	}
}

// refusals is how often at most it is logged that a connection was refused.
const refusals = 10 * time.Second

// refuse closes a connection of Raft from an address that may change nothing.
func (m *Mux) refuse(c *net.TCPConn) {
	_ = c.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.refused) >= refusals {
		m.refused = now
		m.log.Warn("a connection of Raft was refused: add the address to the server's -whiteList if it is a master's",
			"from", c.RemoteAddr().String())
	}
}

// classify returns the first byte, and takes it off when it is Raft's.
func (m *Mux) classify(c *net.TCPConn) (first byte, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(m.idle)); err != nil {
		return 0, err
	}
	if first, err = peekByte(raw); err != nil {
		return 0, err
	}
	if first < 0x20 {
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			return 0, err
		}
	}
	return first, c.SetReadDeadline(time.Time{})
}

// A half is one of the two listeners.
type half struct {
	mux   *Mux
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	err   error // set before done is closed
}

func (h *half) init(m *Mux) {
	h.mux, h.conns, h.done = m, make(chan net.Conn), make(chan struct{})
}

// offer waits until the connection is accepted; that bounds what piles up before a listener that is slow.
func (h *half) offer(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.done:
		_ = c.Close()
	}
}

func (h *half) end(err error) (first bool) {
	h.once.Do(func() {
		h.err, first = err, true
		close(h.done)
	})
	return first
}

func (h *half) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		if h.err != nil {
			return nil, h.err
		}
		return nil, net.ErrClosed
	}
}

func (h *half) Addr() net.Addr { return h.mux.ln.Addr() }

func (h *half) Close() error {
	if !h.end(nil) {
		return nil
	}
	m := h.mux
	m.mu.Lock()
	m.open--
	last := m.open == 0
	m.mu.Unlock()
	if last {
		m.shut(nil)
	}
	return nil
}
