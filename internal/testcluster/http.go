package testcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Answer is what a server said, or why it said nothing.
type Answer struct {
	Status int // 0 when there is no complete answer
	Header http.Header
	Body   []byte
	err    error
}

// Err describes the answer as the error that it is to who wanted another one.
func (a Answer) Err() error {
	if a.err != nil {
		return a.err
	}
	return fmt.Errorf("status %d: %.300s", a.Status, a.Body)
}

// NeverSent reports whether there was no connection, so that nobody can have got the request.
func (a Answer) NeverSent() bool {
	var failure *net.OpError
	return errors.As(a.err, &failure) && failure.Op == "dial"
}

// Want returns nil if the answer has the status, else Err.
func (a Answer) Want(status int) error {
	if a.Status == status {
		return nil
	}
	return a.Err()
}

// Field returns a field of a JSON object that is text or a number, and fails the test if it is not there.
func (a Answer) Field(t testing.TB, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(a.Body, &fields); err != nil {
		t.Fatalf("%v: %v", err, a.Err())
	}
	value, ok := fields[name]
	if !ok {
		t.Fatalf("no %q: %v", name, a.Err())
	}
	return fmt.Sprint(value)
}

// plain sends what is no GET or HEAD once, on connections that are kept, follows nothing and inflates nothing: what a
// server says is what the test sees.
var plain = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		DialContext:         dial,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     5 * time.Second,
		DisableCompression:  true,
	},
}

// dial connects to an address, within the network that it belongs to.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	if n := networkOf(address); n != nil {
		return n.dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// Do sends a request with a body as it is; headers are given as "Name: value".
func Do(method, url, body string, headers ...string) Answer {
	return DoWithin(Patience, method, url, body, headers...)
}

// DoWithin is Do for those who give up earlier.
func DoWithin(limit time.Duration, method, url, body string, headers ...string) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return Answer{err: err}
	}
	if body == "" {
		r.Body, r.GetBody, r.ContentLength = http.NoBody, nil, 0
	}
	return send(r, headers)
}

// DoStream is Do with a body of unknown length.
func DoStream(method, url string, body io.Reader, headers ...string) Answer {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return Answer{err: err}
	}
	return send(r, headers)
}

func send(r *http.Request, headers []string) Answer {
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ": ")
		if !ok {
			return Answer{err: errors.New("no header: " + h)}
		}
		r.Header.Set(name, value)
	}
	answer, err := plain.Do(r)
	if err != nil {
		return Answer{err: err}
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return Answer{err: fmt.Errorf("status %d, then %w", answer.StatusCode, err)}
	}
	return Answer{Status: answer.StatusCode, Header: answer.Header, Body: b}
}

// Form returns a form with one file in it and the Content-Type header that it needs.
func Form(name, content string) (body, header string) {
	const boundary = "3b9aca07f0c5d1e2"
	return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n" +
		content + "\r\n--" + boundary + "--\r\n", "Content-Type: multipart/form-data; boundary=" + boundary
}
