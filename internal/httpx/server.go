package httpx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	defaultIdleTimeout  = 30 * time.Second
	defaultDrainTimeout = 10 * time.Second

	// readBufferBytes bounds a request head (431 beyond it).
	readBufferBytes = 8 << 10
	// writeBufferBytes lets a head and a body of up to 16 KiB leave in one system call.
	writeBufferBytes = 16 << 10
	// prefetchBytes is how much of a body fasthttp reads before it calls the handler. More would be
	// copied twice, and would wait for the client before the handler can refuse.
	prefetchBytes = 1
)

// Config of a Server. The zero value of a field means its default.
type Config struct {
	Name    string                  // "volume", for logs
	Handler fasthttp.RequestHandler // required
	// IdleTimeout is how long a connection may be silent between requests, how long a request head may take
	// in all, and the window in which a body in either direction must move at least 4 KiB. Default 30 s.
	IdleTimeout time.Duration
	// MaxConns bounds open connections; one more is answered 503 and closed. Default: the limit of open
	// files, raised as far as it goes, less a quarter kept for files, and 32768 at most.
	MaxConns int
	// MaxBodyBytes refuses a larger declared body with 413 before the handler is called, and before the body
	// is sent when the client asks with "Expect: 100-continue". Default 0: ReadBody alone decides.
	MaxBodyBytes int64
	// DrainTimeout is how long running requests may go on after the end of the context. Default 10 s.
	DrainTimeout time.Duration
	Guard        *Guard       // nil = everyone may write
	Logger       *slog.Logger // nil = discard
}

// Server serves HTTP/1.0 and 1.1 over TCP.
type Server struct {
	cfg      Config
	log      *slog.Logger
	fast     *fasthttp.Server
	clock    clock
	draining atomic.Bool
	rejects  chan struct{} // slots of connections being told 503

	mu    sync.Mutex
	conns map[*conn]struct{}
	wg    sync.WaitGroup // one per connection, rejected ones included
}

// New returns a server that has not touched anything yet.
func New(cfg Config) *Server {
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = defaultIdleTimeout
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = defaultDrainTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:     cfg,
		log:     cfg.Logger.With("server", cfg.Name),
		conns:   make(map[*conn]struct{}),
		rejects: make(chan struct{}, maxRejects),
	}
	s.clock.init(cfg.IdleTimeout)
	s.fast = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.malformed,
		ExpectHandler:                s.expect,
		ConnState:                    connState,
		StreamRequestBody:            true,
		MaxRequestBodySize:           prefetchBytes,
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               readBufferBytes,
		WriteBufferSize:              writeBufferBytes,
		LazyRequestTime:              true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		Logger:                       printfLogger{s.log},
	}
	return s
}

// Serve accepts connections from ln, which must be TCP, until ctx ends; then it closes ln and idle
// connections, waits for running requests up to DrainTimeout, cuts off the rest and returns nil. Any other
// return is a failure of the listener. A Server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.cfg.MaxConns <= 0 {
		s.cfg.MaxConns = DefaultMaxConns()
	}
	s.fast.Concurrency = s.cfg.MaxConns + 1
	clockDone := make(chan struct{})
	go func() {
		defer close(clockDone)
		s.clock.run()
	}()
	defer func() {
		s.clock.stop()
		<-clockDone
	}()
	unhook := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer unhook()

	err := s.accept(ctx, ln)
	_ = ln.Close()
	s.drain()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept hands out connections until the listener fails for good. Being out of files or memory passes.
func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	var lastLog time.Time
	for {
		nc, err := ln.Accept()
		if err == nil {
			s.welcome(nc)
			continue
		}
		if ctx.Err() != nil || !isPassing(err) {
			return fmt.Errorf("accept connections on %s: %w", ln.Addr(), err)
		}
		if time.Since(lastLog) > time.Minute {
			lastLog = time.Now()
			s.log.Warn("can't accept connections for the moment", "err", err)
		}
		lull(ctx.Done())
	}
}

// isPassing reports whether accepting failed for want of files or memory.
func isPassing(err error) bool {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// lull waits a moment for files to be closed and reports whether to go on; false means done.
func lull(done <-chan struct{}) bool {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}

// welcome starts to serve nc, or refuses it when the house is full.
func (s *Server) welcome(nc net.Conn) {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		s.log.Error("not a TCP connection", "type", fmt.Sprintf("%T", nc))
		_ = nc.Close()
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		_ = tcp.Close()
		return
	}
	c := &conn{TCPConn: tcp, srv: s, raw: raw, idleSince: s.clock.now()}
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConns
	if !full {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		s.reject(c)
		return
	}
	s.wg.Go(func() { s.serveConn(c) })
}

// serveConn gives the connection to fasthttp whenever there is something to read, and takes it back when it
// has been quiet for a while. Then the goroutine waits on an almost empty stack, without buffers.
func (s *Server) serveConn(c *conn) {
	defer func() {
		if !c.taken {
			_ = c.TCPConn.Close()
		}
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	for c.awaitRequest() {
		err := s.fast.ServeConn(c)
		if !c.parked {
			if err != nil {
				s.log.Debug("connection ended", "peer", c.RemoteAddr(), "err", err)
			}
			return
		}
		c.parked = false
	}
}

// drain lets running requests finish and closes everything else.
func (s *Server) drain() {
	s.draining.Store(true)
	s.mu.Lock()
	for c := range s.conns {
		// A request that has already arrived is still answered.
		if c.idle.Load() && !c.readable() {
			_ = c.TCPConn.Close()
		}
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(s.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	s.mu.Lock()
	s.log.Warn("cutting off requests that did not end in time", "connections", len(s.conns))
	for c := range s.conns {
		_ = c.TCPConn.Close()
	}
	s.mu.Unlock()
	// Whoever waits for the peer ends now. A handler that waits for something else is left behind.
	timer.Reset(min(s.cfg.DrainTimeout, time.Second))
	select {
	case <-done:
	case <-timer.C:
	}
}

// printfLogger gives fasthttp's own remarks to slog.
type printfLogger struct{ log *slog.Logger }

func (p printfLogger) Printf(format string, args ...any) {
	p.log.Info("fasthttp: " + fmt.Sprintf(format, args...))
}
