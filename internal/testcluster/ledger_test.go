package testcluster_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/client"
	"weed/internal/testcluster"
)

// absent is the version of a blob that is not there.
const absent = 0

// entry is what one writer knows of one fid: the versions that it may have. There is one unless the outcome
// of an operation is unknown.
type entry struct {
	fid      string
	possible []int
	last     int // the highest version that was ever written
}

// content is the bytes of a version of a blob: nothing that another version or another blob could be taken
// for. Some are text that the store compresses, some are large.
func content(fid string, version int) (data []byte, mime string) {
	h := fnv.New64a()
	fmt.Fprint(h, fid, "#", version)
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	size := random.IntN(4 << 10)
	if random.IntN(64) == 0 {
		size = 200<<10 + random.IntN(400<<10)
	}
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	data = fmt.Appendf(nil, "%s#%d\n", fid, version)
	if version%2 == 0 {
		return hex.AppendEncode(data, noise), "text/plain"
	}
	return append(data, noise...), "application/octet-stream"
}

// ledger holds writers' entries and what went wrong.
type ledger struct {
	client *client.Client
	acked  atomic.Int64 // operations that were acknowledged

	mu      sync.Mutex
	entries []*entry
	errs    []error
}

func newLedger(t *testing.T, c *testcluster.Cluster) *ledger {
	t.Helper()
	var masters []string
	for _, m := range c.Masters {
		masters = append(masters, m.Addr)
	}
	// No waiting within the client: the test retries by itself, and sees every answer.
	cl, err := client.New(client.Config{Masters: masters, RetryWait: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return &ledger{client: cl}
}

// run lets writers work until ctx ends.
func (l *ledger) run(ctx context.Context, writers int) {
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { l.write(ctx, rand.New(rand.NewPCG(uint64(i), 2))) })
	}
	wg.Wait()
}

// write is one writer. What it begins it ends, whatever becomes of ctx: an operation that is given up could
// happen later.
func (l *ledger) write(ctx context.Context, random *rand.Rand) {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	var own []*entry
	for ctx.Err() == nil {
		var err error
		switch dice := random.IntN(100); {
		case dice < 55 || len(own) == 0:
			var e *entry
			if e, err = l.create(context.WithoutCancel(ctx)); e != nil {
				own = append(own, e)
			}
		case dice < 75:
			err = l.put(context.WithoutCancel(ctx), own[random.IntN(len(own))])
		case dice < 85:
			err = l.remove(context.WithoutCancel(ctx), own[random.IntN(len(own))])
		default:
			err = l.check(context.WithoutCancel(ctx), own[random.IntN(len(own))])
		}
		if err != nil { // the server is away
			<-pause.C
		}
	}
	l.mu.Lock()
	l.entries = append(l.entries, own...)
	l.mu.Unlock()
}

func (l *ledger) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

func (l *ledger) create(ctx context.Context) (*entry, error) {
	a, err := l.client.Assign(ctx, client.AssignOptions{})
	if err != nil {
		return nil, err
	}
	e := &entry{fid: a.FID, possible: []int{absent}}
	return e, l.put(ctx, e)
}

func (l *ledger) put(ctx context.Context, e *entry) error {
	e.last++
	data, mime := content(e.fid, e.last)
	_, err := l.client.Upload(ctx, e.fid, &client.Blob{Data: data, Mime: mime})
	l.note(e, e.last, err)
	return err
}

func (l *ledger) remove(ctx context.Context, e *entry) error {
	_, err := l.client.Delete(ctx, e.fid)
	if errors.Is(err, client.ErrNotFound) && slices.Contains(e.possible, absent) {
		err = nil
	}
	l.note(e, absent, err)
	return err
}

// note records the outcome of an operation that leads to version.
func (l *ledger) note(e *entry, version int, err error) {
	if err == nil {
		e.possible = []int{version}
		l.acked.Add(1)
	} else if !slices.Contains(e.possible, version) {
		e.possible = append(e.possible, version)
	}
	if errors.Is(err, client.ErrForbidden) || errors.Is(err, client.ErrInvalid) {
		l.complain("%s: %w", e.fid, err)
	}
}

// check reads a blob. It may be a version that is possible, whole; an error is returned when nobody answers.
func (l *ledger) check(ctx context.Context, e *entry) error {
	data, _, err := l.client.Get(ctx, e.fid, nil)
	switch {
	case errors.Is(err, client.ErrNotFound):
		if !slices.Contains(e.possible, absent) {
			l.complain("%s is gone, it must be one of the versions %v", e.fid, e.possible)
		}
	case err != nil:
		return err
	case !e.may(data):
		l.complain("%s has %d bytes %.40q, that is none of the versions %v", e.fid, len(data), data, e.possible)
	}
	return nil
}

// may reports whether the blob may consist of data.
func (e *entry) may(data []byte) bool {
	return slices.ContainsFunc(e.possible, func(version int) bool {
		if version == absent {
			return false
		}
		want, _ := content(e.fid, version)
		return slices.Equal(data, want)
	})
}

// verify reads every blob and reports all that went wrong so far.
func (l *ledger) verify(t *testing.T) {
	t.Helper()
	for _, e := range l.entries {
		if err := l.check(context.Background(), e); err != nil {
			t.Fatalf("%s: %v", e.fid, err)
		}
	}
	l.report(t)
}

func (l *ledger) report(t *testing.T) {
	t.Helper()
	const most = 20
	for i, err := range l.errs {
		if i == most {
			t.Errorf("and %d more", len(l.errs)-most)
			break
		}
		t.Error(err)
	}
}
