package filer

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/httpx"
)

// Config of a filer. Zero values mean the defaults named.
type Config struct {
	Bind    string   // host:port to listen on
	Masters []string // host:port of each master

	Collection  string // of files whose rule and request name none
	Replication string // the same; "" leaves it to the masters

	ChunkBytes        int64 // files are cut into chunks of this size; 4 MiB
	BufferBytes       int64 // memory of all chunks in flight; 32 MiB, and at least three chunks
	RedirectOnRead    bool  // send readers of files of one chunk to the volume server
	DisableDirListing bool
	DirListLimit      int           // entries in one page of a listing at most; 10,000
	IdleTimeout       time.Duration // how long a client may move nothing; 30 s
	FillTime          time.Duration // after which a chunk is stored as far as it has come; 30 s
	DrainTimeout      time.Duration // how long requests may go on after the end; 10 s
	MaxConns          int           // open connections; what the limit of open files allows by default

	// Alone says that nobody else uses the store: claims of earlier lives are released at once.
	Alone bool
	// ClaimTime is how long the claims of a filer that is gone are left alone; 15 min.
	ClaimTime time.Duration
	// MissingGrace is how long a chunk that is not there has to stay away until its deletion counts as done: an
	// upload that was broken off may still arrive. 10 s.
	MissingGrace time.Duration

	// ExpireEvery lies between two walks over the tree that remove entries whose time is over and that nobody has come
	// across; 1 h. A walk takes a twentieth of the store's time.
	ExpireEvery time.Duration

	Version string       // of the program, for /.weed/status
	Guard   *httpx.Guard // who may change things; nil for everyone
}

// Deps are what a filer works with.
type Deps struct {
	Store    store.Store          // required; the caller closes it after Run
	Logger   *slog.Logger         // nil: discard
	Registry *prometheus.Registry // of /metrics; nil: one of its own
	Now      func() time.Time     // the clock of entries; nil: time.Now
	Listener net.Listener         // nil: one on Config.Bind; Run closes it
}

const (
	defaultChunkBytes  = 4 << 20
	defaultBufferBytes = 32 << 20
	smallReadsBytes    = 16 << 20 // memory of all reads of small files
	maxChunkBytes      = 256 << 20
)

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.ChunkBytes, defaultChunkBytes)
	setDefault(&c.BufferBytes, defaultBufferBytes)
	setDefault(&c.DirListLimit, store.MaxListLimit)
	setDefault(&c.IdleTimeout, 30*time.Second)
	setDefault(&c.FillTime, 30*time.Second)
	setDefault(&c.DrainTimeout, 10*time.Second)
	setDefault(&c.ClaimTime, 15*time.Minute)
	setDefault(&c.MissingGrace, 10*time.Second)
	setDefault(&c.ExpireEvery, time.Hour)
	switch {
	case len(c.Masters) == 0:
		return c, errors.New("no master is given: name one with -master=host:port")
	case c.ChunkBytes < 1 || c.ChunkBytes > maxChunkBytes:
		return c, fmt.Errorf("chunks of %d bytes: give 1 to %d", c.ChunkBytes, maxChunkBytes)
	case c.DirListLimit < 1 || c.DirListLimit > store.MaxListLimit:
		return c, fmt.Errorf("pages of %d entries: give 1 to %d", c.DirListLimit, store.MaxListLimit)
	}
	c.BufferBytes = max(c.BufferBytes, 3*c.ChunkBytes)
	if err := blob.CheckCollection(c.Collection); err != nil {
		return c, err
	}
	if _, err := blob.ParsePlacement(c.Replication); err != nil {
		return c, err
	}
	return c, nil
}

func (d Deps) withDefaults() (Deps, error) {
	if d.Store == nil {
		return d, errors.New("a filer needs a store")
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Registry == nil {
		d.Registry = prometheus.NewRegistry()
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	return d, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
