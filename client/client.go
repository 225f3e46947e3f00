package client

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config tells how a Client works. The zero value of every field but Masters means its default.
type Config struct {
	// Masters are the addresses (host:port) of the masters. A Client without any can still make the calls
	// that name a server: Forward, PostJSON, UploadTo.
	Masters []string
	// MaxConnsPerHost bounds the connections to one server, busy ones and idle ones; a call that needs one
	// more waits for it. An open Download holds one. Default 256.
	MaxConnsPerHost int
	// MaxIdle is how long an unused connection is kept. It must stay below the servers' idle timeout of
	// 30 s, so that it is this side that closes. Default 20 s.
	MaxIdle time.Duration
	// IOTimeout is how long a server may move no byte in the middle of an exchange. Default 30 s.
	IOTimeout time.Duration
	// DialTimeout bounds the making of a connection. Default 3 s.
	DialTimeout time.Duration
	// RetryWait bounds the time that one call spends waiting because servers answer 503 or 429 with
	// Retry-After. Default 10 s; negative means not to wait.
	RetryWait time.Duration
	// LookupTTL is how long the locations of a volume are believed. Default 1 min.
	LookupTTL time.Duration
	// LookupEntries bounds the volumes whose locations are kept. Default 16384.
	LookupEntries int
	// MaxGetBytes bounds what Get puts into memory. Default 256 MiB.
	MaxGetBytes int64
}

// maxJSONBytes bounds an answer that is decoded in memory; the largest is the topology of a big cluster.
const maxJSONBytes = 64 << 20

func (cfg Config) withDefaults() (Config, error) {
	masters := make([]string, 0, len(cfg.Masters))
	for _, m := range cfg.Masters {
		if m = strings.TrimSpace(m); m == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(m); err != nil {
			return cfg, invalid("master %q is not host:port", m)
		}
		masters = append(masters, m)
	}
	cfg.Masters = masters
	setDefault(&cfg.MaxConnsPerHost, 256)
	setDefault(&cfg.MaxIdle, 20*time.Second)
	setDefault(&cfg.IOTimeout, 30*time.Second)
	setDefault(&cfg.DialTimeout, 3*time.Second)
	setDefault(&cfg.LookupTTL, time.Minute)
	setDefault(&cfg.LookupEntries, 16384)
	setDefault(&cfg.MaxGetBytes, 256<<20)
	if cfg.RetryWait == 0 {
		cfg.RetryWait = 10 * time.Second
	}
	return cfg, nil
}

// setDefault replaces a value that is not positive.
func setDefault[T ~int | ~int64](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// clock is time as the retries and the cache see it.
type clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the context's error as soon as it ends.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Client talks to one cluster. All methods may be called concurrently.
type Client struct {
	cfg     Config
	clock   clock
	pool    *pool
	lookups lookupCache

	master  atomic.Int32  // index of the master that answered last
	replica atomic.Uint32 // rotates reads over the replicas

	root      context.Context // ends with Close; the shared lookups run under it
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once
}

// New returns a client. It makes no connection yet. An address that is not host:port is ErrInvalid.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("new client: %w", err)
	}
	c := &Client{cfg: cfg, clock: systemClock{}, pool: newPool(cfg)}
	c.lookups.init(cfg.LookupEntries)
	c.root, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { c.pool.reap(c.root) })
	return c, nil
}

// Close closes the idle connections and ends the client's goroutines. Calls that are under way end under
// their own contexts and close their connections themselves; later calls fail with ErrClosed. It returns nil.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		c.cancel()
		c.pool.close()
	})
	c.wg.Wait()
	return nil
}

// patience is what is left of Config.RetryWait in one call.
type patience struct {
	c    *Client
	left time.Duration
}

func (c *Client) patience() patience { return patience{c: c, left: max(c.cfg.RetryWait, 0)} }

// wait sleeps for as long as the failed server asked. It reports false when the call must end with err:
// the server did not ask, the wait would be too long, or the context ended meanwhile.
func (p *patience) wait(ctx context.Context, err error) bool {
	d := retryAfter(err)
	if d <= 0 || d > p.left {
		return false
	}
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(p.c.clock.Now()) < d {
		return false
	}
	p.left -= d
	return p.c.clock.Sleep(ctx, d) == nil
}
