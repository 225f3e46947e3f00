package testcluster_test

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/testcluster"
)

var (
	leaderKills  = flag.Int("chaos.kills", 20, "how often TestLeaderKilled kills the leader")
	chaosMinutes = flag.Float64("chaos.minutes", 0, "let TestMastersChaos run for so many minutes; 0 skips it (Linux, root)")
	chaosPause   = flag.Duration("chaos.pause", 0, "how long TestLeaderPaused lets each leader stand still; at least until another one assigns")
	chaosSeed    = flag.Uint64("chaos.seed", 0, "the order of TestMastersChaos's faults; 0 draws one")
)

// backBound is the time after which masters that have lost their leader must assign again. It is several times
// what they take (the tests log it), so that a busy machine does not fail the tests.
const backBound = 5 * testcluster.Election

// loaded starts three masters and two volume servers, and 16 clients that are assigned fids.
func loaded(t *testing.T) (*testcluster.Cluster, *assignLoad) {
	t.Helper()
	c := testcluster.New(t)
	c.StartMasters(3)
	for range 2 {
		c.StartVolume("-fsync=never", "-max=20")
	}
	c.WaitWritable()
	load := startLoad(t, 16, c.Masters, few)
	load.waitMore(t, 100)
	return c, load
}

// checkBack wants every fail-over to have ended in bounded time, and reports how long they took.
func checkBack(t *testing.T, what string, times []time.Duration, bound time.Duration) {
	t.Helper()
	t.Logf("%s: assigned again after %s", what, spread(times))
	if longest := slices.Max(times); longest > bound {
		t.Errorf("%s: no fid for %v", what, longest)
	}
}

// allThere looks up all volumes of grants, at all masters.
func allThere(t *testing.T, masters []*testcluster.Server, grants []grant) {
	t.Helper()
	seen := make(map[string]bool)
	for _, g := range grants {
		id := fmt.Sprint(uint32(g.volume))
		if seen[id] {
			continue
		}
		seen[id] = true
		for _, m := range masters {
			testcluster.WaitFor(t, m.Addr+" knows volume "+id, func() error {
				return testcluster.Do(http.MethodGet, m.URL("/dir/lookup?volumeId="+id), "").Want(http.StatusOK)
			})
		}
	}
}

// TestLeaderKilled kills the leading master with SIGKILL again and again while 16 clients are assigned fids.
// No key is given twice, no answer is taken back, and the masters that are left assign again soon.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c, load := loaded(t)
	var times []time.Duration
	for i := range *leaderKills {
		leader := c.WaitLeader(c.Masters...)
		killed := time.Now()
		leader.Kill()
		if i%2 == 0 { // every other time the dead one is there again before the election
			leader.Restart()
		}
		times = append(times, waitBack(t, killed, c.Others(leader)))
		if i%2 == 1 {
			leader.Restart()
		}
		load.waitMore(t, 100)
	}
	c.WaitLeader(c.Masters...)
	grants := load.stop(t)
	allThere(t, c.Masters, grants)
	checkBack(t, "leader killed", times, backBound)
}

// span is a time to look at.
type span struct{ from, to time.Time }

// TestLeaderStops sends SIGTERM to the leader: it hands over, so that clients hardly notice.
func TestLeaderStops(t *testing.T) {
	t.Parallel()
	c, load := loaded(t)
	const stops = 5
	var spans []span
	for range stops {
		leader := c.WaitLeader(c.Masters...)
		told := time.Now()
		if code := leader.Term(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		waitBack(t, told, c.Others(leader))
		load.waitMore(t, 500)
		spans = append(spans, span{told, time.Now()})
		leader.Restart()
	}
	grants := load.stop(t)
	allThere(t, c.Masters, grants)
	var gaps []time.Duration
	for _, s := range spans {
		gaps = append(gaps, load.longestGap(s.from, s.to))
	}
	t.Logf("leader told to stop: the longest time that one of 16 clients had no answer: %s", spread(gaps))
	// A planned restart is felt for less than a second. What else the machine does may add to it, but hardly
	// every time.
	if shortest := slices.Min(gaps); shortest >= time.Second {
		t.Errorf("the shortest of %d hand-overs was felt for %v", stops, shortest)
	}
}

// TestLeaderPaused stops the leader with SIGSTOP until another one leads, and lets it go on. It must not
// assign by what it knew before.
func TestLeaderPaused(t *testing.T) {
	t.Parallel()
	c, load := loaded(t)
	var times []time.Duration
	for i := range 3 {
		times = append(times, pauseLeader(t, c, load, i == 0))
	}
	grants := load.stop(t)
	allThere(t, c.Masters, grants)
	checkBack(t, "leader paused", times, backBound)
}

// pauseLeader returns how long it took until the others assigned. It may wait for the answers of those that had
// passed requests on.
func pauseLeader(t *testing.T, c *testcluster.Cluster, load *assignLoad, all bool) time.Duration {
	t.Helper()
	leader := c.WaitLeader(c.Masters...)
	others := c.Others(leader)
	leader.Pause()
	paused := time.Now()
	defer leader.Resume()
	passedOn := ask(32, others...) // some before the others notice
	back := waitBack(t, paused, others)
	if all {
		load.add(passedOn.wait(t, "answers of masters that had passed requests on to the paused one"))
	}
	load.waitMore(t, 500)
	for time.Since(paused) < *chaosPause {
		load.waitMore(t, 500)
	}
	next := c.WaitLeader(others...)
	// These wait in the paused one's sockets when it goes on.
	late := ask(200, leader)
	load.waitMore(t, 100)
	leader.Resume()
	resumed := time.Now()
	load.add(late.wait(t, "answers of the master that was paused"))
	if !all {
		load.add(passedOn.wait(t, "answers of masters that had passed requests on"))
	}
	load.waitMore(t, 100)
	if now := c.WaitLeader(c.Masters...); now != next {
		t.Errorf("the leader that was paused does not follow %s: %s leads", next.Addr, now.Addr)
	}
	t.Logf("paused for %v: it follows %v after it goes on", resumed.Sub(paused).Round(time.Millisecond), time.Since(resumed).Round(time.Millisecond))
	return back
}

// questions are requests for a fid that are under way.
type questions struct {
	left   atomic.Int64
	mu     sync.Mutex
	grants []grant
	errs   []error
}

// ask sends n requests at once, to masters in turn.
func ask(n int, masters ...*testcluster.Server) *questions {
	q := new(questions)
	q.left.Store(int64(n))
	var sent sync.WaitGroup
	sent.Add(n)
	for i := range n {
		go func() {
			defer q.left.Add(-1)
			sent.Done()
			g, err := assignWithin(testcluster.Patience, masters[i%len(masters)], 1)
			q.mu.Lock()
			defer q.mu.Unlock()
			if err != nil {
				q.errs = append(q.errs, err)
			} else if g.count > 0 {
				q.grants = append(q.grants, g)
			}
		}()
	}
	sent.Wait()
	return q
}

// wait waits until all have some answer. Masters answer at once, also that they can't.
func (q *questions) wait(t *testing.T, what string) ([]grant, []error) {
	t.Helper()
	began := time.Now()
	testcluster.WaitFor(t, what, func() error {
		if n := q.left.Load(); n > 0 {
			return fmt.Errorf("%d requests have none", n)
		}
		return nil
	})
	if took := time.Since(began); took > backBound {
		t.Errorf("%s came after %v", what, took.Round(time.Millisecond))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.grants, q.errs
}

func ended(s *testcluster.Server) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}
