package httpx

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/valyala/fasthttp"
)

// handle wraps the handler: guard, declared size, panics, the last answer of a drain.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.phase = phaseBody
		c.unread = ctx.Request.IsBodyStream()
	}
	defer func() {
		if r := recover(); r != nil {
			s.panicked(ctx, r)
		}
		if s.draining.Load() {
			ctx.SetConnectionClose()
		}
	}()
	if s.refuse(ctx) == 0 {
		s.cfg.Handler(ctx)
	}
}

// refuse answers a request that the handler need not see, and returns the status it gave, or 0.
func (s *Server) refuse(ctx *fasthttp.RequestCtx) int {
	h := &ctx.Request.Header
	if !bytes.HasPrefix(h.Protocol(), httpOne) {
		ctx.SetConnectionClose()
		Error(ctx, fasthttp.StatusHTTPVersionNotSupported, "this server speaks HTTP/1.1 and HTTP/1.0")
		return fasthttp.StatusHTTPVersionNotSupported
	}
	if h.ConnectionClose() && framedTwice(h.RawHeaders()) { // fasthttp closes the connection after such a request
		ctx.SetConnectionClose()
		Error(ctx, fasthttp.StatusBadRequest, "Transfer-Encoding and Content-Length in one request: send one of them")
		return fasthttp.StatusBadRequest
	}
	if g := s.cfg.Guard; g != nil && g.guards(ctx) && !g.Permit(ctx) {
		return fasthttp.StatusForbidden
	}
	if limit := s.cfg.MaxBodyBytes; limit > 0 && int64(ctx.Request.Header.ContentLength()) > limit {
		bodyErrors.find(ErrTooLarge).answer(ctx, ErrTooLarge)
		return fasthttp.StatusRequestEntityTooLarge
	}
	return 0
}

// httpOne begins every version that is served: a later minor one is answered as what is known (RFC 9110 section 2.5).
var httpOne = []byte("HTTP/1.")

// framedTwice reports whether a request head has both a Transfer-Encoding and a Content-Length. Whoever stands between
// the client and this server may have taken the one for the body's end where fasthttp takes the other (RFC 9112
// section 6.3).
func framedTwice(head []byte) bool {
	coded, sized := false, false
	for line := range bytes.SplitSeq(head, []byte{'\n'}) {
		name, _, _ := bytes.Cut(line, []byte{':'})
		coded = coded || bytes.EqualFold(name, []byte(fasthttp.HeaderTransferEncoding))
		sized = sized || bytes.EqualFold(name, []byte(fasthttp.HeaderContentLength))
	}
	return coded && sized
}

// expect decides on "Expect: 100-continue". A refusal carries its answer, and the connection closes.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	c, ok := ctx.Conn().(*conn)
	if ok {
		c.phase = phaseBody
	}
	status := s.refuse(ctx)
	if status == 0 {
		return fasthttp.StatusContinue
	}
	if ok {
		c.unread = true // the client may send the body all the same
	}
	return status
}

func (s *Server) panicked(ctx *fasthttp.RequestCtx, r any) {
	s.log.Error("a handler panicked", "method", string(ctx.Method()), "path", string(ctx.Path()),
		"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	ctx.Response.Reset()
	ctx.Response.Header.SetNoDefaultContentType(true)
	ctx.SetConnectionClose()
	Error(ctx, fasthttp.StatusInternalServerError, "the server failed on this request: see its log")
}

// malformed answers what fasthttp can't parse or receive; the connection closes after it.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.unread = true
	}
	var small *fasthttp.ErrSmallBuffer
	var status int
	var text string
	switch {
	case errors.As(err, &small):
		status, text = fasthttp.StatusRequestHeaderFieldsTooLarge,
			fmt.Sprintf("the request head is larger than %d bytes: shorten the URL or the headers", readBufferBytes)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		row := bodyErrors.find(ErrTooLarge)
		status, text = row.Status, row.Text
	case errors.Is(err, os.ErrDeadlineExceeded):
		status, text = fasthttp.StatusRequestTimeout, "the request did not arrive in time: send it faster"
	default:
		status, text = fasthttp.StatusBadRequest, "malformed HTTP request: check the request line and the headers"
	}
	ctx.Response.SkipBody = ctx.IsHead()
	Error(ctx, status, text)
}
