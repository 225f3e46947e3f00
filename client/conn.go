package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	readBufferBytes = 8 << 10 // holds the head of nearly every answer
	maxHeadBytes    = 96 << 10
	copyBodyBytes   = 8 << 10 // a body up to this size joins the head in one write
	writeStepBytes  = 1 << 20 // what must move within one IOTimeout
	maxInterim      = 8       // 1xx answers before the real one
)

// outgoing is a request as the connection sends it.
type outgoing struct {
	method string
	host   string
	path   string // escaped path and query, starting with '/'
	mime   string
	header []Field
	body   []byte
	stream *source // instead of body
	// idempotent allows to send the request once more over another connection.
	idempotent  bool
	answerField func(name, value []byte) // see Request
}

// conn is one kept-alive connection. Between pool.get and finish it belongs to one goroutine.
type conn struct {
	host      *host
	nc        net.Conn
	br        *bufio.Reader
	head      fasthttp.ResponseHeader
	out       []byte // request head, and a small body
	vec       net.Buffers
	ioTimeout time.Duration
	deadline  time.Time // as set on nc
	idleSince time.Time

	abort    func()      // nc.Close, made once
	stop     func() bool // ends the watch over the context
	reused   bool        // served an earlier exchange
	answered bool        // a byte of the answer has arrived
	noReuse  bool
}

func newConn(h *host, nc net.Conn, ioTimeout time.Duration) *conn {
	cn := &conn{host: h, nc: nc, br: bufio.NewReaderSize(nc, readBufferBytes), ioTimeout: ioTimeout}
	cn.abort = func() { nc.Close() }
	return cn
}

func (cn *conn) alive() bool { return cn.br.Buffered() == 0 && open(cn.nc) }

// finish gives the connection back. complete says that the answer was read to its end.
func (cn *conn) finish(complete bool) {
	if cn.stop != nil {
		// When the watch has fired the connection is closed, or about to be.
		complete = cn.stop() && complete
		cn.stop = nil
	}
	cn.host.put(cn, complete && !cn.noReuse && cn.br.Buffered() == 0)
}

// touch moves the deadline of the connection. It is moved in coarse steps: setting it costs.
func (cn *conn) touch() error {
	now := time.Now()
	if cn.deadline.Sub(now) >= cn.ioTimeout*7/8 {
		return nil
	}
	cn.deadline = now.Add(cn.ioTimeout)
	return cn.nc.SetDeadline(cn.deadline)
}

// exchange sends a request and reads the head of its answer. The end of ctx closes the connection, now and
// until finish.
func (cn *conn) exchange(ctx context.Context, o *outgoing) error {
	cn.answered = false
	if ctx.Done() != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		cn.stop = context.AfterFunc(ctx, cn.abort)
	}
	if err := cn.touch(); err != nil {
		return err
	}
	if err := cn.send(o); err != nil {
		var broken *sourceError
		if errors.As(err, &broken) || errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		// A server that refuses a body answers and closes without reading it all: what it said counts.
		cn.noReuse = true
		if headErr := cn.readHead(); headErr != nil || cn.head.StatusCode() < 400 {
			return fmt.Errorf("sending: %w", err)
		}
		return nil
	}
	if err := cn.readHead(); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

func (cn *conn) appendHead(o *outgoing) []byte {
	b := cn.out[:0]
	b = append(b, o.method...)
	b = append(b, ' ')
	b = append(b, o.path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, o.host...)
	b = append(b, "\r\nUser-Agent: weed\r\n"...)
	if o.mime != "" {
		b = appendField(b, "Content-Type", o.mime)
	}
	for _, f := range o.header {
		b = appendField(b, f.Name, f.Value)
	}
	size := int64(len(o.body))
	if o.stream != nil {
		size = o.stream.size
	}
	if size > 0 || o.method == fasthttp.MethodPost || o.method == fasthttp.MethodPut {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, size, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func (cn *conn) send(o *outgoing) error {
	cn.out = cn.appendHead(o)
	if o.stream != nil {
		if _, err := cn.nc.Write(cn.out); err != nil {
			return err
		}
		return cn.sendStream(o.stream)
	}
	if len(o.body) <= copyBodyBytes {
		cn.out = append(cn.out, o.body...)
		_, err := cn.nc.Write(cn.out)
		return err
	}
	n := min(len(o.body), writeStepBytes)
	cn.vec = append(cn.vec[:0], cn.out, o.body[:n])
	vec := cn.vec // WriteTo consumes the slice that it is called on
	_, err := vec.WriteTo(cn.nc)
	clear(cn.vec)
	for rest := o.body[n:]; err == nil && len(rest) > 0; rest = rest[n:] {
		if err = cn.touch(); err != nil {
			return err
		}
		n = min(len(rest), writeStepBytes)
		_, err = cn.nc.Write(rest[:n])
	}
	return err
}

// readHead reads the status line and the header of the answer.
func (cn *conn) readHead() error {
	for range maxInterim {
		err := cn.head.Read(cn.br)
		var small *fasthttp.ErrSmallBuffer
		if errors.As(err, &small) && cn.br.Size() < maxHeadBytes {
			// A blob's pairs can fill 64 KiB of header. Nothing has been taken out of the small buffer.
			cn.br = bufio.NewReaderSize(cn.br, maxHeadBytes)
			cn.noReuse = true
			err = cn.head.Read(cn.br)
		}
		if err != nil {
			cn.answered = cn.br.Buffered() > 0
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // no caller may take it for the end of a body
			}
			return err
		}
		cn.answered = true
		if status := cn.head.StatusCode(); status >= 200 {
			if cn.head.ConnectionClose() {
				cn.noReuse = true
			}
			return nil
		} else if status < 100 || status == fasthttp.StatusSwitchingProtocols {
			break
		}
	}
	return fmt.Errorf("unexpected status %d", cn.head.StatusCode())
}

// length returns the number of bytes in the body of the answer, -1 when it comes in chunks. An answer
// without a length would end where the connection breaks, so that a short one looks whole: it is refused.
func (cn *conn) length(method string) (int64, error) {
	status := cn.head.StatusCode()
	if method == fasthttp.MethodHead || status == fasthttp.StatusNoContent || status == fasthttp.StatusNotModified {
		return 0, nil
	}
	switch n := cn.head.ContentLength(); {
	case n >= 0:
		return int64(n), nil
	case n == -1:
		return -1, nil
	}
	return 0, errors.New("the answer tells no length")
}

// appendBody appends the body of the answer to dst, at most limit bytes.
func (cn *conn) appendBody(dst []byte, method string, limit int64) ([]byte, error) {
	n, err := cn.length(method)
	if err != nil {
		return dst, err
	}
	if n < 0 {
		return cn.appendChunks(dst, limit)
	}
	if n > limit {
		return dst, fmt.Errorf("%w: the answer has %d bytes, %d are allowed", ErrTooLarge, n, limit)
	}
	// A length is a claim: memory follows what has arrived.
	for n > 0 {
		if err := cn.touch(); err != nil {
			return dst, err
		}
		step := int(min(n, writeStepBytes))
		dst = slices.Grow(dst, step)
		got, err := io.ReadFull(cn.br, dst[len(dst):len(dst)+step])
		dst = dst[:len(dst)+got]
		n -= int64(got)
		if err != nil {
			return dst, noEOF(err)
		}
	}
	return dst, nil
}

func (cn *conn) appendChunks(dst []byte, limit int64) ([]byte, error) {
	r := chunked{cn: cn, r: httputil.NewChunkedReader(cn.br)}
	for {
		if limit < 0 {
			return dst, fmt.Errorf("%w: the answer exceeds the bytes allowed", ErrTooLarge)
		}
		dst = slices.Grow(dst, 4096)
		free := dst[len(dst):cap(dst)]
		n, err := r.Read(free[:min(int64(len(free)), limit+1)])
		dst = dst[:len(dst)+n]
		limit -= int64(n)
		if err == io.EOF && limit >= 0 {
			return dst, nil
		}
		if err != nil && err != io.EOF {
			return dst, err
		}
	}
}

// chunked reads a body in chunks, up to and with the empty line behind the last.
type chunked struct {
	cn *conn
	r  io.Reader
}

func (c *chunked) Read(p []byte) (int, error) {
	if err := c.cn.touch(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	if err == io.EOF {
		if line, lineErr := c.cn.br.ReadSlice('\n'); lineErr != nil || len(line) > 2 {
			c.cn.noReuse = true // a trailer, or no end: the body is whole all the same
		}
	}
	return n, err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
