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
}

func newWriter(p *peer, conn net.Conn) *writer {
	cfg := &p.links.cfg
	return &writer{
		conn: conn, source: cfg.Source, count: &p.count, log: cfg.Logger.With("server", p.to), timeout: cfg.StallTimeout,
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
			if err := w.flush(out, frames); err != nil {
				w.count.dropped.Add(uint64(len(batch) - i))
				return err
			}
			frames = 0
			if need > cap(out.b) {
				out.release()
				out = takeBuffer(need)
			}
		}
		b, err := appendFrame(out.b, f, w.source)
		if err != nil {
			w.count.dropped.Add(1)
			level := slog.LevelError
			if errors.Is(err, errUnread) { // the log was cut, or the volume has gone, since
				level = slog.LevelDebug
			}
			w.log.Log(context.Background(), level, "replication: can't send a message", "err", err)
			continue
		}
		out.b = b
		frames++
	}
	return w.flush(out, frames)
}

// flush writes and empties a buffer. As long as the other end takes something, it may take its time.
func (w *writer) flush(out *buffer, frames int) error {
	p := out.b
	out.b = out.b[:0]
	for rest := p; len(rest) > 0; {
		if now := time.Now(); w.by.Sub(now) < w.timeout/2 { // moving a deadline costs more than looking at the clock
			w.by = now.Add(w.timeout)
			_ = w.conn.SetWriteDeadline(w.by) // who can't is closed, which Write tells
		}
		n, err := w.conn.Write(rest)
		rest = rest[n:]
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			w.count.dropped.Add(uint64(frames))
			return err
		}
	}
	if frames > 0 {
		w.count.frames.Add(uint64(frames))
		w.count.bytes.Add(uint64(len(p)))
		w.count.writes.Add(1)
	}
	return nil
}
