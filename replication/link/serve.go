package link

import (
	"fmt"
	"io"
	"net"
	"sync"

	"weed/replication"
)

// minReadBytes is the least room that a read is worth while frames in front of it are still held.
const minReadBytes = 4 << 10

// inbound is a connection on which another server writes.
type inbound struct {
	conn    net.Conn
	from    replication.Server
	handler Handler
	quota   *quota
	once    sync.Once
	done    chan struct{} // closed when nothing is handed over any more
	ended   chan error    // capacity 1: why the last reader did
	readers sync.WaitGroup
	watch   watch

	// Owned by the reader.
	buf  *buffer // what was read
	next int     // where in it the first frame that was not handed over begins
}

// close makes the goroutine that serves the connection end.
func (in *inbound) close() {
	in.once.Do(func() {
		_ = in.conn.Close()
		in.quota.close()
	})
}

// Serve reads frames from a connection that another server began, and hands them over, until it ends. It closes the
// connection and ends an older one of the same server. The error is nil if the other end was done, ErrFrame if it
// broke the format, ErrSelf, ErrReplaced, ErrClosed, or the connection's.
func (l *Links) Serve(conn net.Conn, from replication.Server) error {
	in := &inbound{
		conn: conn, from: from, handler: l.cfg.Handler, quota: newQuota(l.cfg.ReceiveBytes),
		done: make(chan struct{}), ended: make(chan error, 1),
	}
	if from == l.cfg.Self {
		in.close()
		return ErrSelf
	}
	old, err := l.admit(in)
	if err != nil {
		in.close()
		return err
	}
	defer func() {
		in.close()
		in.readers.Wait()
		l.wg.Done()
	}()
	if old != nil {
		old.close()
		<-old.done
	}
	in.readers.Add(1)
	in.read()
	err = <-in.ended

	l.mu.Lock()
	closed, current := l.closed, l.in[from] == in
	if current {
		delete(l.in, from)
	}
	l.mu.Unlock()
	close(in.done)
	switch {
	case closed:
		return ErrClosed
	case !current:
		return ErrReplaced
	case err == io.EOF:
		return nil
	}
	return fmt.Errorf("replication from %s: %w", from, err)
}

// admit notes a connection as that of its server, and returns the one that was.
func (l *Links) admit(in *inbound) (old *inbound, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.wg.Add(1)
	old = l.in[in.from]
	l.in[in.from] = in
	return old, nil
}

// read is the work of a reader, until the connection ends or the next reader has taken over.
func (in *inbound) read() {
	defer in.readers.Done()
	err := in.readAll()
	if err != errTakenOver {
		if in.buf != nil {
			in.buf.release()
		}
		in.ended <- err
	}
}

func (in *inbound) readAll() error {
	if in.buf == nil {
		if in.buf = in.quota.take(readBytes); in.buf == nil {
			return net.ErrClosed
		}
	}
	for {
		handed, need, err := in.handOver()
		if handed && !in.flush() {
			return errTakenOver
		}
		if err != nil {
			return err
		}
		if !in.makeRoom(need) {
			return net.ErrClosed
		}
		b := in.buf.b
		n, err := in.conn.Read(b[len(b):cap(b)])
		in.buf.b = b[:len(b)+n]
		if err != nil && n == 0 {
			if err == io.EOF && in.next < len(b) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// handOver gives the handler all whole frames. It returns whether there were any, and how many bytes the next one has,
// 0 if that can't be told.
func (in *inbound) handOver() (handed bool, need int, err error) {
	for {
		var size int
		rest := in.buf.b[in.next:]
		if size, err = frameSize(rest); err != nil || size == 0 || size > len(rest) {
			return handed, size, err
		}
		var f Frame
		if err = decodeFrame(rest[:size:size], &f); err != nil {
			return handed, size, err
		}
		if f.Message.Bytes != nil {
			in.buf.hold()
			f.hold = in.buf
		}
		in.next += size
		in.handler.Receive(in.from, f)
		handed = true
	}
}

// makeRoom provides for the rest of a frame of need bytes, or some bytes if that is 0, in this buffer or in another, for
// which it waits. It reports false when the connection was closed meanwhile.
func (in *inbound) makeRoom(need int) bool {
	switch {
	case in.next == len(in.buf.b) && cap(in.buf.b) == readBytes && in.buf.alone():
		in.buf.b, in.next = in.buf.b[:0], 0
		return true
	case in.next < len(in.buf.b) || cap(in.buf.b) == readBytes: // a large one is not for a connection that is idle
		if cap(in.buf.b)-in.next >= max(need, minReadBytes) {
			return true
		}
	}
	buf := in.quota.take(max(need, readBytes))
	if buf == nil {
		return false
	}
	buf.b = append(buf.b, in.buf.b[in.next:]...)
	in.buf.release()
	in.buf, in.next = buf, 0
	return true
}
