package link

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"
)

// A writer puts frames on one connection.
type writer struct {
	conn    net.Conn
	source  Source
	count   *counters
	log     *slog.Logger
	timeout time.Duration
	by      time.Time // the deadline that is set
	direct  *direct   // nil if only the peer's goroutine can write

	// Guarded by the peer's mu.
	busy bool     // somebody who sends is writing
	left leftover // of that
}

func newWriter(p *peer, conn net.Conn) *writer {
	cfg := &p.links.cfg
	return &writer{
		conn: conn, source: cfg.Source, count: &p.count, log: cfg.Logger.With("server", p.to), timeout: cfg.StallTimeout,
		direct: newDirect(conn),
	}
}

// write sends frames by as few system calls as their size allows.
func (w *writer) write(batch []Frame) error {
	out, frames := takeBuffer(batchBytes), 0
	defer func() { out.release() }()
	for i := range batch {
		f := &batch[i]
		need := f.bound()
		if len(out.b)+need > cap(out.b) {
			if err := w.flush(out, 0, frames); err != nil {
				w.count.dropped.Add(uint64(len(batch) - i))
				return err
			}
			frames = 0
			if need > cap(out.b) {
				out.release()
				out = takeBuffer(need)
			}
		}
		if w.encode(out, f) {
			frames++
		}
	}
	return w.flush(out, 0, frames)
}

// encode appends a frame to a buffer that has room for it, if it can be put together.
func (w *writer) encode(out *buffer, f *Frame) bool {
	b, err := appendFrame(out.b, f, w.source)
	if err != nil {
		w.count.dropped.Add(1)
		level := slog.LevelError
		if errors.Is(err, errUnread) { // the log was cut, or the volume has gone, since
			level = slog.LevelDebug
		}
		w.log.Log(context.Background(), level, "replication: can't send a message", "err", err)
		return false
	}
	out.b = b
	return true
}

// extend sees to it that a write has time.
func (w *writer) extend() {
	if now := time.Now(); w.by.Sub(now) < w.timeout/2 { // moving a deadline costs more than looking at the clock
		w.by = now.Add(w.timeout)
		_ = w.conn.SetWriteDeadline(w.by) // who can't is closed, which Write tells
	}
}

// finish writes what somebody else has begun to.
func (w *writer) finish(l leftover) error {
	defer l.buf.release()
	return w.flush(l.buf, l.from, l.frames)
}

func (w *writer) counted(bytes, frames int) {
	w.count.frames.Add(uint64(frames))
	w.count.bytes.Add(uint64(bytes))
	w.count.writes.Add(1)
}

// flush writes a buffer from an offset on and empties it. As long as the other end takes something, it may take its time.
func (w *writer) flush(out *buffer, from, frames int) error {
	p := out.b
	out.b = out.b[:0]
	for rest := p[from:]; len(rest) > 0; {
		w.extend()
		n, err := w.conn.Write(rest)
		rest = rest[n:]
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			w.count.dropped.Add(uint64(frames))
			return err
		}
	}
	if frames > 0 {
		w.counted(len(p), frames)
	}
	return nil
}
