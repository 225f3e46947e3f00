package link

import "syscall"

// A direct writer puts frames on a connection without waiting for anything, on the goroutine of whoever sends them.
// What the connection does not take at once is left to the peer's own goroutine.
type direct struct {
	raw  syscall.RawConn
	once func(fd uintptr) bool // made once: it writes p and tells n and err
	p    []byte
	n    int
	err  error
}

// newDirect returns nil if the connection is none of the system's.
func newDirect(conn any) *direct {
	sc, ok := conn.(syscall.Conn)
	if !ok || tryWrite == nil {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.once = func(fd uintptr) bool {
		d.n, d.err = tryWrite(int(fd), d.p)
		return true
	}
	return d
}

// write returns how many bytes the connection took at once.
func (d *direct) write(p []byte) (n int, err error) {
	d.p, d.n, d.err = p, 0, nil
	if err = d.raw.Write(d.once); err == nil {
		err = d.err
	}
	d.p = nil
	return d.n, err
}

// leftover is what a direct writer could not write.
type leftover struct {
	buf    *buffer
	from   int // in it
	frames int // that end there
	err    error
}

// takes reports whether frames are few and small enough to be written by whoever sends them.
func (w *writer) takes(frames []Frame) bool {
	if w.direct == nil {
		return false
	}
	need := 0
	for i := range frames {
		need += frames[i].bound()
	}
	return need <= directBytes
}

// writeNow sends frames without waiting.
func (w *writer) writeNow(frames []Frame) leftover {
	out, encoded := takeBuffer(directBytes), 0
	for i := range frames {
		if w.encode(out, &frames[i]) {
			encoded++
		}
	}
	if encoded == 0 {
		out.release()
		return leftover{}
	}
	w.extend()
	n, err := w.direct.write(out.b)
	if err == nil && n < len(out.b) {
		return leftover{buf: out, from: n, frames: encoded}
	}
	if err == nil {
		w.counted(n, encoded)
	} else {
		w.count.dropped.Add(uint64(encoded))
	}
	out.release()
	return leftover{err: err}
}
