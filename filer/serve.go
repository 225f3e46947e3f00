package filer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weed/internal/httpx"
)

const (
	// maxHeadBytes bounds a request's head; the longest path takes most of it.
	maxHeadBytes = 256 << 10
	mimeJSON     = "application/json"
)

// serve runs the HTTP server until ctx ends and running requests have been answered, or DrainTimeout is over.
func (f *Filer) serve(ctx context.Context, ln net.Listener) error {
	most := f.cfg.MaxConns
	if most <= 0 {
		most = httpx.DefaultMaxConns()
	}
	server := &http.Server{
		Handler:           f,
		ReadHeaderTimeout: f.cfg.IdleTimeout,
		IdleTimeout:       f.cfg.IdleTimeout,
		MaxHeaderBytes:    maxHeadBytes,

		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(logWriter{f.log}, "", 0),
		ConnState:                    trackState,
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	done := make(chan error, 1)
	go func() {
		done <- server.Serve(&listener{Listener: ln, idle: f.cfg.IdleTimeout, room: make(chan struct{}, most)})
	}()
	select {
	case err := <-done:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	f.stopServing()
	drain, cancel := context.WithTimeout(context.Background(), f.cfg.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		f.log.Warn("cutting off requests that did not end in time")
		_ = server.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// logWriter gives net/http's own remarks to slog.
type logWriter struct{ log *slog.Logger }

func (l logWriter) Write(b []byte) (int, error) {
	text := string(bytes.TrimSpace(b))
	if strings.Contains(text, "panic") {
		l.log.Error("http: " + text)
	} else {
		l.log.Debug("http: " + text)
	}
	return len(b), nil
}

// permits reports whether the peer may change things, and otherwise answers 403.
func (f *Filer) permits(w http.ResponseWriter, r *http.Request) bool {
	if f.cfg.Guard == nil {
		return true
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr) // a peer without address is not listed
	if f.cfg.Guard.Listed(peer.Addr()) {
		return true
	}
	answerError(w, r, http.StatusForbidden, "address "+peer.Addr().String()+" may not do this: add it to the server's -whiteList")
	return false
}

func isRead(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// allow reports whether the request's method is one of methods. Otherwise it answers: OPTIONS with 204, anything else
// with 405, both with the Allow header.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	allowed := strings.Join(methods, ", ") + ", " + http.MethodOptions
	w.Header().Set("Allow", allowed)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return false
	}
	answerError(w, r, http.StatusMethodNotAllowed, "this method is not allowed here: use "+allowed)
	return false
}

// answerJSON answers with JSON that was made by hand, indented when the query says pretty=y.
func answerJSON(w http.ResponseWriter, r *http.Request, status int, text []byte) {
	if isPretty(r) {
		var out bytes.Buffer
		if json.Indent(&out, text, "", "  ") == nil {
			text = out.Bytes()
		}
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone hears nothing
}

var jsonType = []string{mimeJSON}

func answerValue(w http.ResponseWriter, r *http.Request, status int, v any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		answerError(w, r, http.StatusInternalServerError, "the answer can't be encoded: see the server's log")
		return
	}
	answerJSON(w, r, status, bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}

func isPretty(r *http.Request) bool {
	return r.URL.RawQuery != "" && r.URL.Query().Get("pretty") == "y"
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController through.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// bodyReader reads a request's body while it makes progress: minProgress bytes in every idle time.
type bodyReader struct {
	body  interface{ Read([]byte) (int, error) }
	conn  *http.ResponseController
	idle  time.Duration
	by    time.Time // end of the window, zero before the first read
	moved int       // bytes in the window
}

const minProgress = 4 << 10

func (f *Filer) newBodyReader(w http.ResponseWriter, r *http.Request) *bodyReader {
	return &bodyReader{body: r.Body, conn: http.NewResponseController(w), idle: f.cfg.IdleTimeout}
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if now := time.Now(); b.by.IsZero() || b.moved >= minProgress && b.by.Sub(now) < b.idle*7/8 {
		b.by, b.moved = now.Add(b.idle), 0
		_ = b.conn.SetReadDeadline(b.by) // a transport without deadlines has no slow clients
	}
	n, err := b.body.Read(p)
	b.moved += n
	if err == io.EOF {
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	return n, err
}
