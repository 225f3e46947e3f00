package filer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"weed/client"
)

// Config tells how a Client works. The zero value of every field but Address means its default.
type Config struct {
	// Address is the filer's host:port.
	Address string
	// MaxConns bounds the connections, busy ones and idle ones; a call that needs one more waits for it. A Download
	// that is open holds one. Default 64.
	MaxConns int
	// AnswerTimeout is how long a filer may take to begin its answer once it has the request. Default 10 min: a
	// large directory takes a while to be loaded.
	AnswerTimeout time.Duration
}

// Client talks to one filer. All methods may be called concurrently.
type Client struct {
	address string
	http    http.Client
	conns   *http.Transport
	closed  atomic.Bool
}

const (
	maxErrorBytes = 64 << 10
	maxJSONBytes  = 256 << 20 // a page of the largest entries
	minRetryAfter = time.Second
)

// New returns a client. It makes no connection yet. An address that is not host:port is client.ErrInvalid.
func New(cfg Config) (*Client, error) {
	if host, port, err := net.SplitHostPort(cfg.Address); err != nil || host == "" || port == "" || strings.ContainsAny(cfg.Address, "/?#@ ") {
		return nil, fmt.Errorf("%w: filer %q is not host:port", client.ErrInvalid, cfg.Address)
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 64
	}
	if cfg.AnswerTimeout <= 0 {
		cfg.AnswerTimeout = 10 * time.Minute
	}
	conns := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		MaxConnsPerHost:       cfg.MaxConns,
		MaxIdleConnsPerHost:   cfg.MaxConns,
		IdleConnTimeout:       20 * time.Second, // below the filer's own, so that this side closes
		ResponseHeaderTimeout: cfg.AnswerTimeout,
		ExpectContinueTimeout: 5 * time.Second,
		DisableCompression:    true,
	}
	c := &Client{address: cfg.Address, conns: conns}
	c.http.Transport = conns
	return c, nil
}

// Address returns the filer's host:port.
func (c *Client) Address() string { return c.address }

// Close closes the idle connections. Calls that are under way end by themselves; later calls fail with
// client.ErrClosed. It returns nil.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.conns.CloseIdleConnections()
	return nil
}

// request is one exchange.
type request struct {
	method string
	path   string
	query  url.Values
	header http.Header
	body   io.Reader
	size   int64 // of body, -1 when it is not known
}

// send returns an answer that is a success, whose body the caller closes.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	if c.closed.Load() {
		return nil, client.ErrClosed
	}
	if !strings.HasPrefix(q.path, "/") {
		return nil, fmt.Errorf("%w: path %q begins with no slash", client.ErrInvalid, q.path)
	}
	where := url.URL{Scheme: "http", Host: c.address, Path: q.path, RawQuery: q.query.Encode()}
	body := q.body
	if q.size == 0 {
		body = nil
	} else if body != nil {
		body = struct{ io.Reader }{body} // what is the caller's is not closed here
	}
	r, err := http.NewRequestWithContext(ctx, q.method, where.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", client.ErrInvalid, err)
	}
	if q.header != nil {
		r.Header = q.header
	}
	if body != nil {
		r.ContentLength = q.size
	}
	answer, err := c.http.Do(r)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	default:
		return nil, fmt.Errorf("%w: %s: %w", client.ErrUnavailable, c.address, cause(err))
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, refusal(answer, c.address+where.Path)
}

// cause takes the method and the address off an error of net/http.
func cause(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// refusal reads an answer that is no success.
func refusal(answer *http.Response, where string) error {
	s := &client.StatusError{Status: answer.StatusCode, Message: http.StatusText(answer.StatusCode), URL: where}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorBytes)) // what has come may do
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		s.Message = said.Error
	}
	if n, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16); err == nil {
		s.RetryAfter = max(time.Duration(n)*time.Second, minRetryAfter)
	}
	return s
}

// call makes an exchange whose answer is JSON, and decodes it; into may be nil.
func (c *Client) call(ctx context.Context, q request, into any) (http.Header, error) {
	answer, err := c.send(ctx, q)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if into == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxErrorBytes))
	} else {
		err = json.NewDecoder(io.LimitReader(answer.Body, maxJSONBytes)).Decode(into)
	}
	switch {
	case err == nil:
		return answer.Header, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w: %s: the answer can't be read: %w", client.ErrUnavailable, c.address, err)
}
