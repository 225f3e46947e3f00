package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"weed/client"
	"weed/internal/httpx"
	"weed/replication/link"
	"weed/replication/live"
	"weed/storage"
)

// Server is one volume server.
type Server struct {
	cfg     Config
	store   *storage.Store
	client  *client.Client
	budget  *httpx.Budget
	metrics *metrics
	beat    *heartbeat
	scrub   *scrubber
	vacuum  *vacuumer
	healing [64]sync.Mutex // of damaged blobs, by their place: readers of one wait for each other
	links   *link.Links
	// cookiePace bounds healCookie.
	cookiePace allowance
	node       *live.Node
	plain      sync.Map // blob.VolumeID -> replication.Config of volumes of one copy, as the masters have them
	pages      map[string]page
	keys       keyLocks

	deflating *semaphore.Weighted // bytes of content whose compressed form is in memory

	images *imageWork

	ready chan struct{} // closed when addr is known
	once  sync.Once
	addr  net.Addr
}

// page is a handler under a fixed path.
type page struct {
	serve   fasthttp.RequestHandler
	methods []string
}

// New checks the configuration. It touches nothing: Run opens the store and the port.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, ready: make(chan struct{})}
	s.budget = httpx.NewBudget(max(cfg.UploadBudgetBytes, cfg.FileSizeLimitBytes+formOverheadBytes), 0)
	s.deflating = semaphore.NewWeighted(deflatingBytes)
	s.images = newImageWork()
	s.metrics = newMetrics(s)
	if s.client, err = client.New(client.Config{Masters: cfg.Masters}); err != nil {
		return nil, err
	}
	s.beat = newHeartbeat(s)
	s.scrub = newScrubber(s, cfg.ScrubBytesPerSecond, cfg.ScrubEvery, cfg.Logger)
	s.scrub.register(cfg.Registry)
	s.vacuum = newVacuumer(cfg.CompactBytesPerSecond)
	s.makeReplication()
	s.pages = s.makePages()
	return s, nil
}

// Run opens the store, listens, serves and sends heartbeats until ctx ends. Then it tells the master that it
// leaves, answers what is in flight, and closes the store.
func (s *Server) Run(ctx context.Context) (err error) {
	ln, err := httpx.Listen(s.cfg.Bind)
	if err != nil {
		return errors.Join(err, s.client.Close())
	}
	s.store, err = storage.OpenStore(s.cfg.FS, s.cfg.Dirs,
		storage.Config{Sync: s.cfg.Fsync, Logger: s.cfg.Logger, MinFreePercent: s.cfg.MinFreePercent, Now: s.cfg.Now})
	if err != nil {
		return errors.Join(err, ln.Close(), s.client.Close())
	}
	if err := s.openReplicas(); err != nil {
		return errors.Join(err, ln.Close(), s.store.Close(), s.client.Close())
	}
	s.once.Do(func() { s.addr = ln.Addr(); close(s.ready) })
	s.cfg.Logger.Info("volume server listens", "address", ln.Addr().String(), "volumes", len(s.store.Volumes()))

	server := httpx.New(httpx.Config{
		Name: "volume", Handler: s.handle, IdleTimeout: s.cfg.IdleTimeout, MaxConns: s.cfg.MaxConns,
		MaxBodyBytes: s.cfg.FileSizeLimitBytes + formOverheadBytes,
		Guard:        s.cfg.Guard, Logger: s.cfg.Logger,
	})
	beside, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.beat.run(beside) })
	group.Go(func() { s.watchSpace(beside) })
	group.Go(func() { s.scrub.run(beside) })
	group.Go(func() { s.runVacuum(beside) })
	live, halt := context.WithCancel(context.Background()) // longer than ctx: what is in flight is settled first
	group.Go(func() { s.node.Run(live) })
	err = server.Serve(ctx, ln)
	s.node.Release()
	stop()
	halt()
	group.Wait()
	err = errors.Join(err, s.links.Close())
	if e := s.store.Close(); e != nil {
		err = errors.Join(err, fmt.Errorf("close the store: %w", e))
	}
	return errors.Join(err, s.client.Close())
}

// Addr returns the address that the server listens on. It waits until Run listens, or ctx ends.
func (s *Server) Addr(ctx context.Context) (net.Addr, error) {
	select {
	case <-s.ready:
		return s.addr, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// handle routes a request: paths that begin with a digit are blobs.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	if len(path) > 1 && path[1] >= '0' && path[1] <= '9' {
		s.handleBlob(ctx, path)
		return
	}
	p, ok := s.pages[string(path)]
	switch {
	case !ok && ctx.IsOptions() && string(ctx.RequestURI()) == "*": // the server as a whole
		allowBlob(ctx)
		return
	case !ok:
		httpx.Error(ctx, fasthttp.StatusNotFound, "nothing is here: blobs are at /volume,key as in /3,01637037d6, figures at /status")
		return
	}
	if httpx.Allow(ctx, p.methods...) {
		p.serve(ctx)
	}
}

func (s *Server) handleBlob(ctx *fasthttp.RequestCtx, path []byte) {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead:
		s.get(ctx, path)
		s.metrics.get.count(ctx)
	case fasthttp.MethodPost, fasthttp.MethodPut:
		s.put(ctx, path)
		s.metrics.put.count(ctx)
	case fasthttp.MethodDelete:
		s.delete(ctx, path)
		s.metrics.delete.count(ctx)
	default:
		allowBlob(ctx)
	}
}

// allowBlob tells the methods of blobs, to those who ask and to those who use another one.
func allowBlob(ctx *fasthttp.RequestCtx) {
	httpx.Allow(ctx, fasthttp.MethodGet, fasthttp.MethodPut, fasthttp.MethodPost, fasthttp.MethodDelete)
}
