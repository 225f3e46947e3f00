package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/wire"
)

// Field is a header field. Names are tokens, values have no control characters.
type Field struct {
	Name, Value string
}

// Request is one exchange with one server, as Forward sends it.
type Request struct {
	Method      string // "" means POST
	Host        string // host:port
	Path        string // path and query, escaped, starting with '/'
	ContentType string // "" sends none
	Header      []Field
	Body        []byte // not touched after Forward has returned, not copied when it is large
	// Idempotent allows to send the request once more when it went out over a kept-alive connection that
	// the server had closed before the first byte of an answer.
	Idempotent bool
	// AnswerField, if there is one, is called with each field of the answer's header. It must not keep the slices.
	AnswerField func(name, value []byte)
}

// Forward sends one request to one server as it is and appends the body of the answer, at most 64 MiB, to
// dst[:0]. Any status is a success here; err means that there is no complete answer, ErrUnavailable that the
// server could not be reached or broke off. It follows no redirect and waits for no Retry-After.
//
// It is the cheapest call, made for servers that pass requests on. Those should not give it a
// fasthttp.RequestCtx as ctx (see Contexts in the package comment) but a context of their own.
func (c *Client) Forward(ctx context.Context, r *Request, dst []byte) (status int, body []byte, err error) {
	o := outgoing{method: r.Method, host: r.Host, path: r.Path, mime: r.ContentType, header: r.Header,
		body: r.Body, idempotent: r.Idempotent, answerField: r.AnswerField}
	if o.method == "" {
		o.method = fasthttp.MethodPost
	}
	status, body, err = c.call(ctx, &o, dst, maxJSONBytes)
	if err != nil {
		err = fmt.Errorf("%s http://%s%s: %w", o.method, o.host, o.path, err)
	}
	return status, body, err
}

// PostJSON posts in as JSON to http://host/path and decodes the answer into out, which may be nil. A status
// that is no success is a *StatusError. The request is sent once only: whoever needs it repeated says so by
// calling again. It is what servers use for heartbeats and orders.
func (c *Client) PostJSON(ctx context.Context, host, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err == nil {
		o := outgoing{method: fasthttp.MethodPost, host: host, path: path, mime: "application/json", body: body}
		err = c.callJSON(ctx, &o, out)
	}
	if err != nil {
		return fmt.Errorf("post to http://%s%s: %w", host, path, err)
	}
	return nil
}

// GetJSON gets http://host/path and decodes the answer into out; otherwise it is like PostJSON.
func (c *Client) GetJSON(ctx context.Context, host, path string, out any) error {
	o := outgoing{method: fasthttp.MethodGet, host: host, path: path, idempotent: true}
	if err := c.callJSON(ctx, &o, out); err != nil {
		return fmt.Errorf("get http://%s%s: %w", host, path, err)
	}
	return nil
}

// callJSON makes one exchange whose answer is JSON.
func (c *Client) callJSON(ctx context.Context, o *outgoing, out any) error {
	body, err := c.callBody(ctx, o)
	if err != nil || out == nil || len(body) == 0 {
		return err
	}
	return decode(body, out)
}

// callBody makes one exchange and returns the whole answer, which is short.
func (c *Client) callBody(ctx context.Context, o *outgoing) ([]byte, error) {
	cn, err := c.start(ctx, o)
	if err != nil {
		return nil, err
	}
	return c.finishBody(ctx, cn, o, nil, maxJSONBytes)
}

func decode(body []byte, out any) error {
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decoding the answer %.100q: %w", body, err)
	}
	return nil
}

// call makes one exchange and reads the whole answer into dst[:0], whatever its status.
func (c *Client) call(ctx context.Context, o *outgoing, dst []byte, limit int64) (int, []byte, error) {
	cn, err := c.start(ctx, o)
	if err != nil {
		return 0, dst[:0], err
	}
	status := cn.head.StatusCode()
	if o.answerField != nil {
		for name, value := range cn.head.All() {
			o.answerField(name, value)
		}
	}
	body, err := cn.appendBody(dst[:0], o.method, limit)
	cn.finish(err == nil)
	if err != nil {
		return 0, body, c.cause(ctx, o.host, err)
	}
	return status, body, nil
}

// finishBody reads the whole answer of cn into dst and ends the exchange. A status of 300 and more is a
// *StatusError.
func (c *Client) finishBody(ctx context.Context, cn *conn, o *outgoing, dst []byte, limit int64) ([]byte, error) {
	if cn.head.StatusCode() >= 300 {
		return dst, c.finishError(ctx, cn, o)
	}
	body, err := cn.appendBody(dst, o.method, limit)
	cn.finish(err == nil)
	if err != nil {
		return dst, c.cause(ctx, o.host, err)
	}
	return body, nil
}

// finishError reads an answer that is no success, ends the exchange and returns it as a *StatusError.
func (c *Client) finishError(ctx context.Context, cn *conn, o *outgoing) error {
	e := &StatusError{Status: cn.head.StatusCode(), URL: o.host + o.path}
	if v := cn.head.Peek(fasthttp.HeaderRetryAfter); len(v) > 0 {
		e.RetryAfter = parseRetryAfter(string(v), c.clock.Now())
	}
	body, err := cn.appendBody(nil, o.method, 64<<10)
	cn.finish(err == nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var msg wire.Error
	if err == nil && bytes.HasPrefix(body, []byte("{")) && json.Unmarshal(body, &msg) == nil {
		e.Message = msg.Error
	}
	if e.Message == "" {
		e.Message = fasthttp.StatusMessage(e.Status)
	}
	return e
}

// parseRetryAfter reads seconds or an HTTP date; what it cannot read is one second.
func parseRetryAfter(v string, now time.Time) time.Duration {
	if d, err := time.ParseDuration(strings.TrimSpace(v) + "s"); err == nil && d > 0 {
		return d
	}
	if t, err := fasthttp.ParseHTTPDate([]byte(v)); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return time.Second
}

// start sends a request and reads the head of the answer. Whoever gets the connection ends it with finish.
func (c *Client) start(ctx context.Context, o *outgoing) (*conn, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for fresh := false; ; fresh = true {
		cn, err := c.pool.get(ctx, o.host, fresh, !o.idempotent)
		if errors.Is(err, ErrUnavailable) {
			return nil, fmt.Errorf("%w: %w", ErrNotReached, err)
		}
		if err != nil {
			return nil, err
		}
		err = cn.exchange(ctx, o)
		if err == nil {
			return cn, nil
		}
		// Closed by the server while it was idle: nobody has seen an answer, and a new connection tells
		// whether the server is there at all.
		stale := cn.reused && !cn.answered && !isTimeout(err) && ctx.Err() == nil
		host := cn.host
		cn.finish(false)
		if !stale || !o.idempotent || !o.stream.rewind() {
			return nil, c.cause(ctx, o.host, err)
		}
		host.dropIdle()
	}
}

// cause turns a failed exchange into what the caller branches on.
func (c *Client) cause(ctx context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// The connection's own deadline must not look like the context's.
	if isTimeout(err) {
		return fmt.Errorf("%w: %s moved no byte for %v", ErrUnavailable, host, c.cfg.IOTimeout)
	}
	var broken *sourceError
	if errors.As(err, &broken) || errors.Is(err, ErrTooLarge) {
		return err
	}
	return unavailable(host, err)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// check refuses what would break the framing of the request.
func (o *outgoing) check() error {
	if !strings.HasPrefix(o.path, "/") || hasAny(o.path, func(c byte) bool { return c <= ' ' || c == 0x7f }) {
		return invalid("request path %.100q", o.path)
	}
	if o.host == "" || hasAny(o.host, func(c byte) bool { return c <= ' ' || c == 0x7f || c == '/' }) {
		return invalid("server address %.100q", o.host)
	}
	if hasAny(o.mime, isControl) {
		return invalid("content type %.100q", o.mime)
	}
	for _, f := range o.header {
		if f.Name == "" || hasAny(f.Name, notToken) || hasAny(f.Value, isControl) {
			return invalid("header field %.100q", f.Name)
		}
	}
	if o.stream != nil && (o.stream.size < 0 || o.stream.r == nil) {
		return invalid("size %d of a blob", o.stream.size)
	}
	return nil
}

func hasAny(s string, bad func(byte) bool) bool {
	for i := range len(s) {
		if bad(s[i]) {
			return true
		}
	}
	return false
}

func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

func notToken(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0
}
