package filer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/semaphore"

	"weed/client"
	"weed/filer/store"
	"weed/internal/httpx"
)

// Names of settings in the store.
const (
	settingNamespace = "namespace"
	settingConf      = "conf"
)

// Filer is one filer server.
type Filer struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	store   store.Store
	client  *client.Client // reads, assigns, deletes
	uploads *client.Client // does not wait for a volume that refuses: there are others
	buffers *buffers
	copies  *copyBuffers
	claims  *claims
	chores  *chores
	reads   reads
	drops   *dropper
	moves   moves
	purge   chan purge
	expired atomic.Int64 // entries that were removed because their time was over
	metrics *metrics
	scrape  http.Handler
	deps    Deps

	marks atomic.Pointer[map[string]string] // the pair that every chunk carries
	rules atomic.Pointer[rules]

	life context.Context // of what goes on beside requests
	end  context.CancelFunc

	serving     context.Context // of requests that take long: it ends when the filer begins to
	stopServing context.CancelFunc

	verifying   sync.Mutex
	verifyKeys  int64         // blobs that one look at the tree is compared with
	verifyPause time.Duration // between tries of a volume that can't be listed; it doubles

	ready chan struct{} // closed when addr is known
	once  sync.Once
	addr  net.Addr

	small    *buffers            // of reads of small files, which uploads can't hold up
	listings *semaphore.Weighted // entries that are listed, listedAtOnce
	warned   atomic.Int64        // the unix second in which a failure of the store was told last
}

// New checks the configuration. It touches nothing: Run listens and works.
func New(cfg Config, deps Deps) (*Filer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if deps, err = deps.withDefaults(); err != nil {
		return nil, err
	}
	if cfg.Bind == "" && deps.Listener == nil {
		return nil, errors.New("no address to listen on is given")
	}
	f := &Filer{cfg: cfg, deps: deps, log: deps.Logger, now: deps.Now, store: deps.Store, ready: make(chan struct{}),
		buffers: newBuffers(cfg.BufferBytes), copies: newCopyBuffers(), purge: make(chan purge, 1024), verifyKeys: verifyKeys, verifyPause: time.Second}
	if f.client, err = client.New(client.Config{Masters: cfg.Masters, MaxGetBytes: smallReadBytes}); err != nil {
		return nil, err
	}
	if f.uploads, err = client.New(client.Config{RetryWait: -1}); err != nil {
		return nil, errors.Join(err, f.client.Close())
	}
	f.life, f.end = context.WithCancel(context.Background())
	f.serving, f.stopServing = context.WithCancel(f.life)
	f.drops = newDropper(f)
	f.chores = newChores(f.life, f.store, f.log, f.drops.poke)
	f.claims = &claims{client: f.client, store: f.store, owner: newID(), life: cfg.ClaimTime, chores: f.chores,
		now: f.now, open: make(map[place]*claim), fills: make(map[place]*fill)}
	f.small, f.listings = newBuffers(smallReadsBytes), semaphore.NewWeighted(listedAtOnce)
	f.rules.Store(&rules{})
	f.metrics = newMetrics(f)
	f.scrape = promhttp.HandlerFor(deps.Registry, promhttp.HandlerOpts{})
	return f, nil
}

// Run serves until ctx ends. Then it answers what is in flight and gives its claims back. It closes the listener, not
// the store.
func (f *Filer) Run(ctx context.Context) error {
	ln := f.deps.Listener
	if ln == nil {
		var err error
		if ln, err = httpx.Listen(f.cfg.Bind); err != nil {
			f.end()
			return errors.Join(err, f.client.Close(), f.uploads.Close())
		}
	}
	f.once.Do(func() { f.addr = ln.Addr(); close(f.ready) })
	f.log.Info("filer listens", "address", ln.Addr().String())

	var group, choring sync.WaitGroup
	toChores, stopChores := context.WithCancel(f.life)
	defer stopChores()
	choring.Go(func() { f.chores.run(toChores) })
	for _, work := range []func(context.Context){
		f.claims.renew, f.drops.run, f.sweepAll, f.cleanClaims, f.followRules, f.purgeExpired, f.expireAll,
	} {
		group.Go(func() { work(f.life) })
	}
	err := f.serve(ctx, ln)
	stopChores()
	choring.Wait()
	f.giveBack()
	f.end()
	group.Wait()
	f.chores.group.Wait()
	return errors.Join(err, f.client.Close(), f.uploads.Close())
}

// giveBack releases all claims, as far as the store takes that within a moment. What is left is released by the next
// life of this filer, or by others when it has expired.
func (f *Filer) giveBack() {
	ctx, cancel := context.WithTimeout(f.life, 3*time.Second)
	defer cancel()
	f.claims.giveUpAll(f.now())
	if err := f.chores.work(ctx); err != nil {
		f.log.Info("claims are released later", "error", err)
	}
}

// Addr returns the address that the filer listens on. It waits until Run listens, or ctx ends.
func (f *Filer) Addr(ctx context.Context) (net.Addr, error) {
	select {
	case <-f.ready:
		return f.addr, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cleanClaims releases the claims of filers that are gone: of earlier lives at once if the store is this filer's
// alone, of others when they have expired.
func (f *Filer) cleanClaims(ctx context.Context) {
	wait := time.Duration(0)
	for all := f.cfg.Alone; ; {
		if !pause(ctx, wait) {
			return
		}
		if err := f.claims.clean(ctx, all); err != nil {
			f.log.Warn("claims of filers that are gone were not released: trying again", "error", err)
			wait = min(max(2*wait, time.Second), time.Minute)
			continue
		}
		f.drops.poke()
		all, wait = false, f.cfg.ClaimTime/10
	}
}

// pause waits and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ServeHTTP answers one request.
func (f *Filer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	markAnswering(r)
	counted := &recorder{ResponseWriter: w, status: http.StatusOK}
	f.route(counted, r)
	if r.ContentLength != 0 { // net/http reads what was left of the body
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(f.cfg.IdleTimeout))
	}
	f.metrics.count(r.Method, counted.status)
}

func (f *Filer) route(w http.ResponseWriter, r *http.Request) {
	if !isRead(r.Method) {
		if !f.permits(w, r) {
			return
		}
		if !queryReads(r) {
			f.fail(w, r, fmt.Errorf("%w: the query can't be read: write %%25 for %%, %%3B for a semicolon", errParameter))
			return
		}
	}
	if page, ok := pages[r.URL.Path]; ok {
		if allow(w, r, page.methods...) {
			page.serve(f, w, r)
		}
		return
	}
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		allow(w, r, treeMethods...)
		return
	}
	path, dir, err := parsePath(r.URL.Path)
	if err == nil && isReserved(path) {
		if err = errNothing; !isRead(r.Method) {
			err = errReserved
		}
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		f.get(w, r, path, dir)
	case http.MethodPut, http.MethodPost:
		f.write(w, r, path, dir)
	case http.MethodDelete:
		f.delete(w, r, path)
	default:
		allow(w, r, treeMethods...)
	}
}

// queryReads reports whether all of a request's query can be read. What can't is left out by URL.Query, which would
// make the deletion of a tag that of the file.
func queryReads(r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return true
	}
	_, err := url.ParseQuery(r.URL.RawQuery)
	return err == nil
}

var treeMethods = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete}

// page is a handler under a fixed path.
type page struct {
	methods []string
	serve   func(*Filer, http.ResponseWriter, *http.Request)
}

var (
	readOnly  = []string{http.MethodGet, http.MethodHead}
	readWrite = []string{http.MethodGet, http.MethodHead, http.MethodPost}
	pages     = map[string]page{
		"/healthz":       {readOnly, (*Filer).serveHealth},
		"/readyz":        {readOnly, (*Filer).serveReady},
		"/metrics":       {readOnly, func(f *Filer, w http.ResponseWriter, r *http.Request) { f.scrape.ServeHTTP(w, r) }},
		"/.weed/status":  {readOnly, (*Filer).serveStatus},
		"/.weed/conf":    {readWrite, (*Filer).serveConf},
		"/.weed/entries": {readWrite, (*Filer).serveEntries},
		"/.weed/verify":  {[]string{http.MethodPost}, (*Filer).serveVerify},
	}
)

// write tells the kinds of PUT and POST apart.
func (f *Filer) write(w http.ResponseWriter, r *http.Request, path store.Path, dir bool) {
	if r.URL.RawQuery != "" {
		q := r.URL.Query()
		switch {
		case q.Has("mv.from"):
			if r.Method != http.MethodPost {
				f.fail(w, r, fmt.Errorf("%w: mv.from goes with POST", errParameter))
				return
			}
			f.move(w, r, path, dir, q.Get("mv.from"))
			return
		case q.Has("tagging"):
			if r.Method == http.MethodPut {
				f.tag(w, r, path)
				return
			}
			f.fail(w, r, fmt.Errorf("%w: tagging goes with PUT and DELETE", errParameter))
			return
		}
	}
	f.put(w, r, path, dir)
}
