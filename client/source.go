package client

import (
	"fmt"
	"io"
	"sync"
)

var streamBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// source is a request body that is read while it is sent.
type source struct {
	r     io.Reader
	size  int64
	start int64     // where r stood, if seeker is not nil
	seek  io.Seeker // nil when r cannot be read twice
	used  bool
}

func newSource(r io.Reader, size int64) *source {
	s := &source{r: r, size: size}
	if seeker, ok := r.(io.Seeker); ok {
		if at, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			s.seek, s.start = seeker, at
		}
	}
	return s
}

// rewind makes the source ready to be sent, and reports whether it is.
func (s *source) rewind() bool {
	if s == nil || !s.used {
		return true
	}
	if s.seek == nil {
		return false
	}
	_, err := s.seek.Seek(s.start, io.SeekStart)
	s.used = err != nil
	return err == nil
}

// spentError marks a failure as final: the caller's reader cannot yield its bytes again.
type spentError struct{ error }

func (e spentError) Unwrap() error { return e.error }

// sourceError is a failure of the caller's reader, which no other server can mend.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "reading the blob: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// sendStream copies a source to the connection, through one buffer.
func (cn *conn) sendStream(s *source) error {
	buf := streamBuffers.Get().(*[]byte)
	defer streamBuffers.Put(buf)
	s.used = true
	for left := s.size; left > 0; {
		part := (*buf)[:min(left, int64(len(*buf)))]
		n, err := io.ReadAtLeast(s.r, part, 1)
		if err != nil {
			if err == io.EOF {
				err = fmt.Errorf("%w: %d bytes of %d are missing", io.ErrUnexpectedEOF, left, s.size)
			}
			return &sourceError{err}
		}
		if err := cn.touch(); err != nil {
			return err
		}
		if _, err := cn.nc.Write(part[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
