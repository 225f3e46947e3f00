package httpx

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// phase is what a read on a connection waits for.
type phase uint8

const (
	phaseIdle phase = iota // the first byte of a request
	phaseHead              // the rest of a request head
	phaseBody              // a request body, while the handler runs or after it
)

const (
	// minProgressBytes must move in every IdleTimeout of a body, or the connection is given up: 140 bytes
	// a second with the default, which any living link manages.
	minProgressBytes = 4 << 10
	// maxParkDelay of silence makes a connection give back its buffers.
	maxParkDelay = 2 * time.Second
	// sendPieceBytes is the longest write or sendfile under one deadline.
	sendPieceBytes = 1 << 20

	// A client that is still sending when it has been refused is read for lingerTime at most, or
	// lingerBytes, or until it is quiet for lingerQuiet: closing on top of unread input resets the
	// connection, and a reset destroys an answer that the client has not read yet.
	lingerTime  = 5 * time.Second
	lingerQuiet = time.Second
	lingerBytes = 512 << 20
)

// A conn holds one client to its progress deadlines. Except for idle and what drain closes, it belongs to
// the goroutine that serves it, in which fasthttp calls it too.
type conn struct {
	*net.TCPConn
	srv  *Server
	raw  syscall.RawConn
	idle atomic.Bool // between requests; read by drain

	phase  phase
	parked bool // fasthttp was told EOF, but the connection lives
	unread bool // a request body, or the rest of a broken request, may still be on its way
	taken  bool // it belongs to whom Hijack gave it to

	// Times on the server's clock.
	readBy, writeBy int64 // the deadlines that are set
	idleSince       int64
	headBy          int64 // end of the request head, 0 before its second read
	windowBy        int64 // end of the body's window, 0 = no window is open
	windowBytes     int
}

// connState follows fasthttp: the first byte of a request has been read, or its answer has been written.
func connState(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.phase, c.unread, c.headBy, c.windowBy = phaseHead, false, 0, 0
		c.idle.Store(false)
	case fasthttp.StateIdle:
		c.phase, c.idleSince = phaseIdle, c.srv.clock.now()
		c.idle.Store(true)
	}
}

// awaitRequest waits until there is something to read, or reports false when the connection is to be closed.
func (c *conn) awaitRequest() bool {
	c.phase = phaseIdle
	c.idle.Store(true)
	if c.srv.draining.Load() && !c.readable() {
		return false
	}
	for {
		c.armRead(c.idleSince + int64(c.srv.cfg.IdleTimeout))
		_, err := peekByte(c.raw)
		if isTimeout(err) && c.srv.clock.late() {
			c.idleSince = c.srv.clock.now()
			continue
		}
		return err == nil
	}
}

// readable reports whether input waits in the kernel.
func (c *conn) readable() bool { return pendingBytes(c.raw) > 0 }

func (c *conn) Read(p []byte) (int, error) {
	switch c.phase {
	case phaseIdle:
		return c.readIdle(p)
	case phaseHead:
		return c.readHead(p)
	default:
		return c.readBody(p)
	}
}

// readIdle reads the beginning of a request. A silent client is parked: fasthttp sees the end of the
// connection, and its Close does nothing.
func (c *conn) readIdle(p []byte) (int, error) {
	if c.srv.draining.Load() && !c.readable() {
		return 0, io.EOF
	}
	c.armRead(c.srv.clock.now() + int64(min(maxParkDelay, c.srv.cfg.IdleTimeout/2)))
	n, err := c.TCPConn.Read(p)
	if n == 0 && isTimeout(err) {
		c.parked = true
		return 0, io.EOF
	}
	return n, err
}

// readHead reads the rest of a head that did not come in one piece.
func (c *conn) readHead(p []byte) (int, error) {
	for {
		if c.headBy == 0 {
			c.headBy = c.srv.clock.now() + int64(c.srv.cfg.IdleTimeout)
		}
		c.armRead(c.headBy)
		n, err := c.TCPConn.Read(p)
		if isTimeout(err) && c.srv.clock.late() {
			c.headBy = 0
			continue
		}
		return n, err
	}
}

// readBody reads within a window that ends after IdleTimeout unless minProgressBytes have arrived. The
// window stays where it is while less arrives, so a client that drips bytes does not live on them.
func (c *conn) readBody(p []byte) (int, error) {
	for {
		if c.windowBy == 0 {
			c.windowBy, c.windowBytes = c.srv.clock.now()+int64(c.srv.cfg.IdleTimeout), 0
		}
		c.armRead(c.windowBy)
		n, err := c.TCPConn.Read(p)
		c.windowBytes += n
		if c.windowBytes >= minProgressBytes {
			c.windowBy = 0
		}
		switch {
		case isTimeout(err) && c.srv.clock.late():
			c.windowBy = 0
			continue
		case err == io.EOF:
			// Nobody reads on after the last byte of a body. fasthttp would take a chunked body that is
			// cut off between two chunks for complete.
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
}

// restartWindow forgives the time that the server itself kept the client waiting.
func (c *conn) restartWindow() { c.windowBy = 0 }

// armRead makes reads end at by, give or take two grains late. The deadline is only moved when it is outside
// of that, which spares the runtime's timers.
func (c *conn) armRead(by int64) {
	grain := int64(c.srv.clock.grain)
	if d := c.readBy - by; d < 0 || d > 2*grain {
		c.readBy = by + grain
		_ = c.TCPConn.SetReadDeadline(c.srv.clock.start.Add(time.Duration(c.readBy)))
	}
}

// armWrite gives a write half of IdleTimeout; see stall.
func (c *conn) armWrite() {
	grain := int64(c.srv.clock.grain)
	by := c.srv.clock.now() + int64(c.srv.cfg.IdleTimeout)/2
	if d := c.writeBy - by; d < 0 || d > 2*grain {
		c.writeBy = by + grain
		_ = c.TCPConn.SetWriteDeadline(c.srv.clock.start.Add(time.Duration(c.writeBy)))
	}
}

// Write sends all of p as long as the client takes it.
func (c *conn) Write(p []byte) (n int, err error) {
	c.armWrite()
	n, err = c.TCPConn.Write(p)
	if err == nil || !isTimeout(err) {
		return n, err
	}
	var st stall
	for m := n; isTimeout(err) && st.alive(c, m); {
		c.armWrite()
		m, err = c.TCPConn.Write(p[n:])
		n += m
	}
	return n, err
}

// ReadFrom lets files go out by sendfile, in pieces, each of which must make progress.
func (c *conn) ReadFrom(r io.Reader) (sent int64, err error) {
	lr, ok := r.(*io.LimitedReader)
	if !ok {
		lr = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	if _, ok := lr.R.(*os.File); !ok {
		return c.copyFrom(lr)
	}
	var st stall
	for lr.N > 0 {
		before := min(lr.N, sendPieceBytes)
		piece := io.LimitedReader{R: lr.R, N: before}
		c.armWrite()
		n, err := c.TCPConn.ReadFrom(&piece)
		sent += n
		lr.N -= n
		// Only where the file stands at what was sent can a piece be resumed; TCPConn may have fallen back
		// to copying and have read ahead.
		if isTimeout(err) && piece.N == before-n && st.alive(c, int(n)) {
			continue
		}
		if err != nil || n == 0 {
			return sent, err
		}
		st = stall{}
	}
	return sent, nil
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (c *conn) copyFrom(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{c}, r, *buf)
}

// Close is called by fasthttp when it is done with the connection.
func (c *conn) Close() error {
	if c.parked {
		return nil
	}
	if c.unread {
		c.linger()
	}
	return c.TCPConn.Close()
}

// linger reads away what the client still sends, so that it can read its answer.
func (c *conn) linger() {
	if c.TCPConn.CloseWrite() != nil {
		return
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	quiet := min(lingerQuiet, c.srv.cfg.IdleTimeout)
	end := time.Now().Add(min(lingerTime, c.srv.cfg.IdleTimeout))
	for left := lingerBytes; left > 0; {
		now := time.Now()
		if now.After(end) || c.TCPConn.SetReadDeadline(now.Add(quiet)) != nil {
			return
		}
		n, err := c.TCPConn.Read(*buf)
		if err != nil {
			return
		}
		left -= n
	}
}

// A stall judges a write that did not end in half of IdleTimeout. Bytes accepted by the kernel are a poor
// measure: a large send buffer wakes the writer only when a third of it is free, which takes minutes on a
// slow link. So progress is what the peer has acknowledged.
type stall struct {
	queued int // bytes in the kernel's send queue at the last look
	known  bool
	quiet  int // looks in a row without progress
}

// alive takes a look, after accepted more bytes were taken by the kernel, and reports whether to go on.
// The first look has nothing to compare the queue with, so a dead peer is given up at the second, after
// IdleTimeout in all.
func (st *stall) alive(c *conn, accepted int) bool {
	if c.srv.clock.late() {
		return true
	}
	queued := queuedBytes(c.raw)
	moved := accepted
	if st.known {
		moved += st.queued - queued
	}
	st.queued, st.known = queued, true
	if moved >= minProgressBytes/2 {
		st.quiet = 0
		return true
	}
	st.quiet++
	return st.quiet < 2
}

func isTimeout(err error) bool { return err != nil && errors.Is(err, os.ErrDeadlineExceeded) }
