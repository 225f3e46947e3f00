package client

import (
	"context"
	"net"
	"sync"
	"time"
)

// pool keeps the connections to every server, most recently used first.
type pool struct {
	cfg    Config
	dialer net.Dialer

	mu     sync.Mutex
	closed bool
	hosts  map[string]*host
}

// host is one server's share of the pool.
type host struct {
	addr  string
	slots chan struct{} // one per connection that is busy; its capacity is the bound

	mu     sync.Mutex
	users  int // calls between get and put: the host must not be forgotten
	closed bool
	idle   []*conn // the last one was used last
}

func newPool(cfg Config) *pool {
	return &pool{
		cfg:    cfg,
		dialer: net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 15 * time.Second},
		hosts:  make(map[string]*host),
	}
}

// get returns a connection to addr: an idle one unless fresh, else a new one. probe asks for a look whether
// the server has closed an idle connection meanwhile. The caller ends with conn.finish.
func (p *pool) get(ctx context.Context, addr string, fresh, probe bool) (*conn, error) {
	h, err := p.use(addr)
	if err != nil {
		return nil, err
	}
	select {
	case h.slots <- struct{}{}:
	default:
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			h.unuse()
			return nil, ctx.Err()
		}
	}
	for !fresh {
		cn := h.takeIdle()
		if cn == nil {
			break
		}
		if !probe || cn.alive() {
			cn.reused = true
			return cn, nil
		}
		cn.nc.Close()
	}
	nc, err := p.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		<-h.slots
		h.unuse()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unavailable(addr, err)
	}
	return newConn(h, nc, p.cfg.IOTimeout), nil
}

func (p *pool) use(addr string) (*host, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	h := p.hosts[addr]
	if h == nil {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, invalid("server address %.100q is not host:port", addr)
		}
		h = &host{addr: addr, slots: make(chan struct{}, p.cfg.MaxConnsPerHost)}
		p.hosts[addr] = h
	}
	h.mu.Lock()
	h.users++
	h.mu.Unlock()
	return h, nil
}

func (h *host) unuse() {
	h.mu.Lock()
	h.users--
	h.mu.Unlock()
}

func (h *host) takeIdle() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle) - 1
	if n < 0 {
		return nil
	}
	cn := h.idle[n]
	h.idle[n] = nil
	h.idle = h.idle[:n]
	return cn
}

// put takes a connection back whose exchange is complete, or drops it.
func (h *host) put(cn *conn, reusable bool) {
	h.mu.Lock()
	h.users--
	keep := reusable && !h.closed && len(h.idle) < cap(h.slots)
	if keep {
		cn.idleSince = time.Now()
		h.idle = append(h.idle, cn)
	}
	h.mu.Unlock()
	// Only now: whoever waits for the slot finds the connection.
	<-h.slots
	if !keep {
		cn.nc.Close()
	}
}

// dropIdle closes what is idle to a server that was just found to have closed one: it has restarted.
func (h *host) dropIdle() {
	h.mu.Lock()
	idle := h.idle
	h.idle = nil
	h.mu.Unlock()
	for _, cn := range idle {
		cn.nc.Close()
	}
}

// expire closes connections that are idle since before t and reports whether nothing of the host is left.
func (h *host) expire(t time.Time) (unused bool) {
	h.mu.Lock()
	n := 0
	for n < len(h.idle) && h.idle[n].idleSince.Before(t) {
		n++
	}
	old := append([]*conn(nil), h.idle[:n]...)
	h.idle = append(h.idle[:0], h.idle[n:]...)
	clear(h.idle[len(h.idle):cap(h.idle)])
	unused = h.users == 0 && len(h.idle) == 0
	h.mu.Unlock()
	for _, cn := range old {
		cn.nc.Close()
	}
	return unused
}

// reap closes idle connections and forgets servers that nobody uses, until ctx ends.
func (p *pool) reap(ctx context.Context) {
	tick := time.NewTicker(max(p.cfg.MaxIdle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.expire(now.Add(-p.cfg.MaxIdle))
		}
	}
}

func (p *pool) expire(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, h := range p.hosts {
		// use counts a user under p.mu, so an unused host cannot come back to life here.
		if h.expire(t) {
			delete(p.hosts, addr)
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	hosts := p.hosts
	p.hosts = nil
	p.mu.Unlock()
	for _, h := range hosts {
		h.mu.Lock()
		h.closed = true
		h.mu.Unlock()
		h.dropIdle()
	}
}
