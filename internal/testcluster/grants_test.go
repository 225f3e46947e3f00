package testcluster_test

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/testcluster"
)

// grant is one answer of /dir/assign: what was handed out, when it was asked for and when it came.
type grant struct {
	lease
	volume     blob.VolumeID
	start, end time.Time
	via        *testcluster.Server
}

// giveUp is how long a client of assignLoad waits for one answer: a master that is paused gives none.
const giveUp = 2 * time.Second

// assignLoad is clients that ask masters for fids without a pause, and remember all answers. Each has a
// master of its own, and goes to the next one when that one does not assign.
type assignLoad struct {
	masters []*testcluster.Server
	answers atomic.Int64
	stopped atomic.Bool
	wg      sync.WaitGroup

	mu      sync.Mutex
	clients [][]grant
	errs    []error
}

// startLoad starts so many clients. counts tells how many fids the n-th request of a client asks for.
func startLoad(t *testing.T, clients int, masters []*testcluster.Server, counts func(n int) int) *assignLoad {
	t.Helper()
	l := &assignLoad{masters: masters}
	for i := range clients {
		l.wg.Go(func() { l.client(i, counts) })
	}
	t.Cleanup(func() {
		l.stopped.Store(true)
		l.wg.Wait()
	})
	return l
}

// few asks for one to seven fids at once.
func few(n int) int { return 1 + n*n%7 }

func (l *assignLoad) client(i int, counts func(n int) int) {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	var own []grant
	for n := i; !l.stopped.Load(); n++ {
		g, err := assignWithin(giveUp, l.masters[i%len(l.masters)], counts(n))
		switch {
		case err != nil:
			l.complain(err)
		case g.count > 0:
			own = append(own, g)
			l.answers.Add(1)
			if len(own)%16 == 0 {
				l.complain(stillThere(l.masters[n%len(l.masters)], own[len(own)/2].volume))
			}
			continue
		}
		i++
		<-pause.C
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, own)
}

func (l *assignLoad) complain(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// assignWithin asks a master for count fids; the grant is empty when it is away or says so. An error is an
// answer that no master may give.
func assignWithin(limit time.Duration, m *testcluster.Server, count int) (grant, error) {
	g := grant{via: m, start: time.Now()}
	a := testcluster.DoWithin(limit, http.MethodGet, m.URL(fmt.Sprint("/dir/assign?count=", count)), "")
	g.end = time.Now()
	fid, granted, err := readGrant(a, count)
	if granted {
		g.volume, g.first, g.count = fid.Volume, fid.Key, count
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", m.Addr, err)
	}
	return g, err
}

// stillThere looks up a volume of an earlier grant: a master may have no answer, but not a 404.
func stillThere(m *testcluster.Server, id blob.VolumeID) error {
	a := testcluster.DoWithin(giveUp, http.MethodGet, m.URL(fmt.Sprint("/dir/lookup?volumeId=", id)), "")
	switch a.Status {
	case 0, http.StatusOK, http.StatusServiceUnavailable:
		return nil
	}
	return fmt.Errorf("%s does not know volume %d, which fids were assigned in: %w", m.Addr, id, a.Err())
}

// add has answers judged that others than the clients got.
func (l *assignLoad) add(grants []grant, errs []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, grants)
	l.errs = append(l.errs, errs...)
}

// waitMore waits until so many more answers have come.
func (l *assignLoad) waitMore(t *testing.T, more int64) {
	t.Helper()
	goal := l.answers.Load() + more
	testcluster.WaitFor(t, "assigns go on", func() error { return atLeast(l.answers.Load(), goal) })
}

// waitBack waits until a request that was sent after an event is granted, by any of masters, and returns how
// long that took since.
func waitBack(t *testing.T, since time.Time, masters []*testcluster.Server) time.Duration {
	t.Helper()
	var back time.Duration
	n := 0
	testcluster.WaitFor(t, "the masters assign again", func() error {
		n++
		g, err := assignWithin(testcluster.Election, masters[n%len(masters)], 1)
		if err == nil && g.count == 0 {
			err = fmt.Errorf("%s does not assign", masters[n%len(masters)].Addr)
		}
		back = g.end.Sub(since)
		return err
	})
	return back
}

// stop ends the clients and judges all answers. It returns them.
func (l *assignLoad) stop(t *testing.T) []grant {
	t.Helper()
	l.stopped.Store(true)
	l.wg.Wait()
	const most = 10
	for i, err := range l.errs {
		if i == most {
			t.Errorf("and %d more", len(l.errs)-most)
			break
		}
		t.Error(err)
	}
	grants := slices.Concat(l.clients...)
	leases := make([]lease, len(grants))
	volumes := make(map[blob.VolumeID]bool)
	for i, g := range grants {
		leases[i] = g.lease
		volumes[g.volume] = true
	}
	if a, b, found := overlaps(leases); found {
		t.Errorf("keys were handed out twice: %+v and %+v", a, b)
	}
	if early, late, found := backward(grants); found {
		t.Errorf("two masters assigned at a time: key %x was asked for at %v through %s, after %v, when key %x had been given through %s",
			late.first, late.start.Format(clockTime), late.via.Addr, early.end.Format(clockTime), early.first, early.via.Addr)
	}
	t.Logf("%d answers, %d volumes", len(grants), len(volumes))
	return grants
}

const clockTime = "15:04:05.000"

// backward finds two grants of which the later one, asked for when the earlier one had been answered, has the
// lower key. One leader hands out rising keys, and the next one's are above those of all before: so a lower
// key comes from a leader that had been replaced.
func backward(grants []grant) (early, late grant, found bool) {
	byStart := slices.SortedFunc(slices.Values(grants), func(a, b grant) int { return a.start.Compare(b.start) })
	byEnd := slices.SortedFunc(slices.Values(grants), func(a, b grant) int {
		return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.first, b.first))
	})
	next := 0
	for _, g := range byStart {
		for ; next < len(byEnd) && byEnd[next].end.Before(g.start); next++ {
			if byEnd[next].first > early.first {
				early = byEnd[next]
			}
		}
		if g.first < early.first {
			return early, g, true
		}
	}
	return grant{}, grant{}, false
}

// longestGap returns the longest time that one client went without an answer within a span of time.
func (l *assignLoad) longestGap(from, to time.Time) time.Duration {
	longest := time.Duration(0)
	for _, own := range l.clients {
		own = slices.SortedFunc(slices.Values(own), func(a, b grant) int { return a.end.Compare(b.end) })
		last := from
		for _, g := range own {
			if g.end.Before(from) {
				last = g.end
				continue
			}
			if last.After(to) {
				break
			}
			longest = max(longest, g.end.Sub(last))
			last = g.end
		}
	}
	return longest
}

// spread describes durations by their lowest, middle and highest.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(times))
	round := func(i int) time.Duration { return sorted[i].Round(time.Millisecond) }
	return fmt.Sprintf("min %v, median %v, 90%% %v, max %v (n=%d)", round(0), round(len(sorted)/2),
		round(len(sorted)*9/10), round(len(sorted)-1), len(sorted))
}

func TestBackward(t *testing.T) {
	t.Parallel()
	base := time.Now()
	at := func(start, end int, key blob.Key) grant {
		return grant{lease: lease{key, 1}, start: base.Add(time.Duration(start)), end: base.Add(time.Duration(end))}
	}
	for name, c := range map[string]struct {
		grants []grant
		want   bool
	}{
		"none":                    {nil, false},
		"rising":                  {[]grant{at(1, 2, 1), at(3, 4, 2)}, false},
		"falling":                 {[]grant{at(1, 2, 2), at(3, 4, 1)}, true},
		"falling, out of order":   {[]grant{at(3, 4, 1), at(1, 2, 2)}, true},
		"at the same time":        {[]grant{at(1, 4, 2), at(3, 5, 1)}, false},
		"hidden by a longer one":  {[]grant{at(1, 9, 9), at(2, 3, 5), at(4, 5, 4)}, true},
		"highest of several ends": {[]grant{at(1, 2, 7), at(1, 3, 3), at(4, 5, 5)}, true},
	} {
		if _, _, found := backward(c.grants); found != c.want {
			t.Errorf("%s: %v", name, found)
		}
	}
}
