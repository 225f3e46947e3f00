// Package redis keeps the filer's tree in a Redis server, which several filers may share.
//
// It owns the keys below one prefix. Each operation is one script, which Redis runs alone from the root of the tree to
// the record. Nothing is sent twice: what was under way when the connection broke is store.ErrUnavailable. A change is
// as durable as the server makes it; with appendonly yes and appendfsync always, it is when it is answered.
//
// # Layout
//
//	format     the version of this layout, 1. Other ones are refused
//	seq        the last version or directory id
//	moves      number of renames
//	h:ID       a directory's records: name, "d" or "f", version ":" id (of directories) ":" value
//	n:ID       their names in order
//	removed    ids of directories that are still to be swept
//	drops      number ":" fid, by number; dropseq is the last
//	claims     ID and JSON; used:ID has a bit for each fid
//	settings   name, version ":" value
//
// The root's id is 1.
//
//	s, err := redis.Open(ctx, redis.Config{Addr: "localhost:6379"}, store.Options{FIDs: filer.FIDs})
package redis

import (
	"context"
	"crypto/tls"
	_ "embed" // the script
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"weed/filer/store"
)

const (
	dialTimeout = 2 * time.Second
	callTimeout = 5 * time.Second

	layout = "1"
)

// DefaultPrefix is that of a Config without one.
const DefaultPrefix = "weed:"

//go:embed ops.lua
var source string
var script = redis.NewScript(source)

// Config says where the tree is.
type Config struct {
	Addr     string // host:port
	Username string // of Redis' access control list; "" is its default user
	Password string // "" for none
	Database int
	Prefix   string      // of all keys; "" is DefaultPrefix
	TLS      *tls.Config // nil for a connection that is not encrypted
}

// Store is a store.Store on a Redis server.
type Store struct {
	client *redis.Client
	prefix string
	opts   store.Options
	mu     sync.RWMutex // held for reading by calls, for writing by Close
	closed bool
}

var _ store.Store = (*Store)(nil)

// Open connects to the server, which has to answer, and to keep no tree of another layout.
func Open(ctx context.Context, cfg Config, opts store.Options) (*Store, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	logging.Disable() // what fails is told to callers
	s := &Store{prefix: cfg.Prefix, opts: opts, client: redis.NewClient(&redis.Options{
		Addr: cfg.Addr, Username: cfg.Username, Password: cfg.Password, TLSConfig: cfg.TLS, DB: cfg.Database, MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1,
		ReadTimeout: callTimeout, WriteTimeout: callTimeout, PoolTimeout: callTimeout, ContextTimeoutEnabled: true, DisableIdentity: true,
	})}
	if err := s.checkLayout(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("redis at %s: %w", cfg.Addr, err), s.Close())
	}
	return s, nil
}

// checkLayout writes the version of the layout where there is none yet, and compares it.
func (s *Store) checkLayout(ctx context.Context) error {
	key := s.prefix + "format"
	got, err := s.client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		if err = s.client.SetNX(ctx, key, layout, 0).Err(); err == nil {
			got, err = s.client.Get(ctx, key).Result()
		}
	}
	switch {
	case err != nil:
		return unavailable(ctx, err)
	case got != layout:
		return fmt.Errorf("the tree at %q has layout %.20q, and this program knows %s: take the program that wrote it", s.prefix, got, layout)
	}
	return nil
}

// begin starts a call.
func (s *Store) begin(ctx context.Context) (end func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return nil, store.ErrClosed
	}
	return s.mu.RUnlock, nil
}

var kinds = map[string]error{
	"notfound": store.ErrNotFound, "noparent": store.ErrNoParent, "notdir": store.ErrNotDirectory, "isdir": store.ErrIsDirectory,
	"notempty": store.ErrNotEmpty, "conflict": store.ErrConflict, "itself": store.ErrIntoItself, "lost": store.ErrClaimLost,
	"exists": errors.New("a claim of this ID is there already"),
}

// run carries out one operation of the script and returns what it answers.
func (s *Store) run(ctx context.Context, op, subject string, args ...any) ([]any, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	answer, err := script.Run(ctx, s.client, nil, append([]any{s.prefix, op}, args...)...).Slice()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	if len(answer) == 0 {
		return nil, fmt.Errorf("%w: empty answer", store.ErrUnavailable)
	}
	if kind, _ := answer[0].(string); kind != "" {
		return nil, fmt.Errorf("%s: %w", subject, kinds[kind])
	}
	return answer[1:], nil
}

func unavailable(ctx context.Context, err error) error {
	return errors.Join(fmt.Errorf("%w: %w", store.ErrUnavailable, err), ctx.Err())
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	end, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := s.client.Ping(ctx).Err(); err != nil {
		return unavailable(ctx, err)
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.client.Close()
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// versionOf reads the version that a change answers.
func versionOf(answer []any, err error) (store.Version, error) {
	if err != nil {
		return 0, err
	}
	text, _ := answer[0].(string)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: version %q", store.ErrUnavailable, text)
	}
	return store.Version(n), nil
}

// parse reads a record as it is kept.
func parse(name, raw string) (store.Record, error) {
	head, rest, ok := strings.Cut(raw, ":")
	_, value, more := strings.Cut(rest, ":")
	if !ok || !more || head == "" {
		return store.Record{}, fmt.Errorf("record %q is damaged", name)
	}
	n, err := strconv.ParseUint(head[1:], 10, 64)
	return store.Record{Name: name, Dir: head[0] == 'd', Version: store.Version(n), Value: []byte(value)}, err
}

func withEffects(args []any, e store.Effects) []any {
	args = append(args, len(e.Drops))
	for _, fid := range e.Drops {
		args = append(args, fid)
	}
	args = append(args, len(e.Uses))
	for _, u := range e.Uses {
		args = append(args, u.Claim, u.Index)
	}
	return args
}
