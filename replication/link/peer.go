package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"weed/replication"
)

// keepFrames is the longest queue whose memory is kept for the next one.
const keepFrames = 1024

// A peer is a server to which frames go. Its writer goroutine, run, owns the connection.
type peer struct {
	links *Links
	to    replication.Server
	count counters

	mu       sync.Mutex // guards the rest
	wake     sync.Cond  // the writer waits for it while idle
	idle     bool
	queue    []Frame
	w        *writer // while there is a connection
	refusing bool    // there is no connection and none is tried for now
	wanted   bool    // something was dropped since the last attempt to connect
	writing  bool    // there is a connection
	broken   bool    // the other end has closed the connection
	closed   bool
}

func newPeer(l *Links, to replication.Server) *peer {
	p := &peer{links: l, to: to}
	p.wake.L = &p.mu
	return p
}

func (p *peer) send(frames []Frame) {
	p.mu.Lock()
	if w := p.w; w != nil && p.idle && !w.busy && w.takes(frames) { // nothing is before them
		w.busy = true
		p.mu.Unlock()
		left := w.writeNow(frames)
		p.mu.Lock()
		w.busy, w.left = false, left
		p.wakeUp(len(p.queue) > 0 || left != leftover{})
		return
	}
	room := p.links.cfg.QueueFrames - len(p.queue)
	if p.refusing || p.closed {
		p.wanted, room = true, 0
	}
	if n := len(frames) - room; n > 0 {
		p.count.dropped.Add(uint64(n))
		frames = frames[:room]
	}
	p.queue = append(p.queue, frames...)
	p.wakeUp(p.w == nil || !p.w.busy) // who is writing sees what came meanwhile
}

// wakeUp unlocks p.mu, and wakes the writer if there is something for it to do.
func (p *peer) wakeUp(work bool) {
	wake := work && p.idle
	if wake {
		p.idle = false
	}
	p.mu.Unlock()
	if wake {
		p.wake.Signal()
	}
}

func (p *peer) status() Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Peer{
		Server: p.to, Connected: p.writing, Queued: len(p.queue), Frames: p.count.frames.Load(),
		Bytes: p.count.bytes.Load(), Writes: p.count.writes.Load(), Dropped: p.count.dropped.Load(),
	}
}

func (p *peer) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
}

// run connects whenever there is something to send, until Close.
func (p *peer) run() {
	cfg := &p.links.cfg
	log := cfg.Logger.With("server", p.to)
	var backoff time.Duration
	for p.await() {
		conn, err := p.connect()
		began := time.Now()
		if err == nil {
			log.Info("replication: connected")
			err = p.converse(conn)
		}
		if p.links.ctx.Err() == nil && (conn != nil || backoff == 0) { // tell the first of many failures in a row
			log.Warn("replication: no connection", "err", err)
		}
		if backoff = max(2*backoff, cfg.MinBackoff); time.Since(began) > cfg.MaxBackoff {
			backoff = 0
		}
		backoff = min(backoff, cfg.MaxBackoff)
		p.rest(backoff)
	}
}

// await waits until a connection is wanted. It reports false after Close.
func (p *peer) await() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.wanted && !p.closed {
		p.idle = true
		p.wake.Wait()
	}
	p.idle, p.wanted = false, false
	return !p.closed
}

// rest drops what could not be sent, and what comes in the time until the next attempt.
func (p *peer) rest(pause time.Duration) {
	p.mu.Lock()
	p.wanted = p.wanted || len(p.queue) > 0
	p.count.dropped.Add(uint64(len(p.queue)))
	p.queue = nil
	p.refusing = pause > 0
	p.mu.Unlock()
	if pause == 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.links.ctx.Done():
	}
	p.mu.Lock()
	p.refusing = false
	p.mu.Unlock()
}

func (p *peer) connect() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(p.links.ctx, p.links.cfg.DialTimeout)
	defer cancel()
	conn, err := p.links.cfg.Dial(ctx, string(p.to))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the handshake too ends with ctx
	err = Upgrade(conn, p.to, p.links.cfg.Self)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = limitSilence(conn, p.links.cfg.StallTimeout)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// converse writes what is sent until the connection ends, and tells why it did.
func (p *peer) converse(conn net.Conn) error {
	p.mu.Lock()
	p.writing, p.broken = true, false
	p.mu.Unlock()
	stop := context.AfterFunc(p.links.ctx, func() { _ = conn.Close() })
	watched := make(chan error, 1)
	go func() { watched <- p.watch(conn) }()

	w := newWriter(p, conn)
	p.mu.Lock()
	p.w = w
	p.mu.Unlock()
	var err error
	var batch []Frame
	for err == nil {
		var left leftover
		if left, batch = p.take(w, batch); batch == nil {
			break
		}
		if err = left.err; err == nil && left.buf != nil {
			err = w.finish(left)
		}
		if err == nil {
			err = w.write(batch)
		}
	}
	stop()
	_ = conn.Close()
	ended := <-watched
	p.mu.Lock()
	p.writing, p.w = false, nil
	if l := w.left; l.buf != nil {
		p.count.dropped.Add(uint64(l.frames))
	}
	p.mu.Unlock()
	if err == nil {
		err = ended
	}
	return err
}

// watch waits for the end of a connection on which the other has nothing to say.
func (p *peer) watch(conn net.Conn) error {
	var b [1]byte
	n, err := conn.Read(b[:])
	if n > 0 {
		err = errors.New("the other end writes on a connection that it only reads")
	}
	_ = conn.Close() // a write that waits ends too
	p.mu.Lock()
	p.broken = true
	p.mu.Unlock()
	p.wake.Broadcast()
	return err
}

// take returns all that waits, as soon as there is something, and makes the queue's memory of what was done. It
// returns nil when the connection has ended.
func (p *peer) take(w *writer, done []Frame) (left leftover, batch []Frame) {
	clear(done)
	if cap(done) > keepFrames {
		done = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for (w.busy || len(p.queue) == 0 && w.left == leftover{}) && !p.broken && !p.closed {
		p.idle = true
		p.wake.Wait()
	}
	p.idle = false
	if p.broken || p.closed {
		return leftover{}, nil
	}
	left, w.left = w.left, leftover{}
	batch = p.queue
	p.queue = done[:0]
	if batch == nil {
		batch = []Frame{}
	}
	return left, batch
}
