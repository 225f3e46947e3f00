package testcluster_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weed/internal/blob"
	"weed/internal/testcluster"
)

// lease is what one answer of /dir/assign hands out: count keys from first on.
type lease struct {
	first blob.Key
	count int
}

// assign asks for count fids; ok is false when the master is away.
func assign(master *testcluster.Server, count int) (fid blob.FileID, ok bool, err error) {
	return readGrant(testcluster.Do(http.MethodGet, master.URL(fmt.Sprint("/dir/assign?count=", count)), ""), count)
}

// readGrant reads an answer to a request for count fids.
func readGrant(a testcluster.Answer, count int) (fid blob.FileID, ok bool, err error) {
	if a.Status == 0 || a.Status == http.StatusServiceUnavailable {
		return fid, false, nil // nobody there, no leader yet, or the volume servers have not reported yet
	}
	var answer struct {
		FID   string `json:"fid"`
		Count int    `json:"count"`
	}
	if a.Status != http.StatusOK || json.Unmarshal(a.Body, &answer) != nil || answer.Count != count {
		return fid, false, fmt.Errorf("assign %d: %w", count, a.Err())
	}
	fid, err = blob.ParseFileID(answer.FID)
	return fid, err == nil, err
}

// overlaps returns two leases that share a key.
func overlaps(leases []lease) (a, b lease, found bool) {
	slices.SortFunc(leases, func(a, b lease) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(leases); i++ {
		a, b := leases[i-1], leases[i]
		if a.first+blob.Key(a.count) > b.first {
			return a, b, true
		}
	}
	return a, b, false
}

// TestMasterKilled kills a master again and again while 16 clients are assigned fids: no key is handed out
// twice. Nor is one that a volume server holds when the master starts with nothing.
func TestMasterKilled(t *testing.T) {
	t.Parallel()
	const (
		kills          = 10
		clients        = 16
		answersPerKill = 200
	)
	c := testcluster.New(t)
	m := c.StartMaster()
	v := c.StartVolume("-fsync=never")
	c.WaitWritable()

	var (
		answers atomic.Int64
		stopped atomic.Bool
		mu      sync.Mutex
		leases  []lease
		wg      sync.WaitGroup
	)
	for i := range clients {
		wg.Go(func() {
			var own []lease
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				leases = append(leases, own...)
			}()
			for n := i; !stopped.Load(); n++ {
				count := 1 + n%7*n%5
				fid, ok, err := assign(m, count)
				if err != nil {
					t.Error(err)
					return
				}
				if ok {
					own = append(own, lease{fid.Key, count})
					answers.Add(1)
				}
			}
		})
	}
	for range kills {
		goal := answers.Load() + answersPerKill
		testcluster.WaitFor(t, "assigns go on", func() error { return atLeast(answers.Load(), goal) })
		m.Kill()
		m.Restart()
	}
	goal := answers.Load() + answersPerKill
	testcluster.WaitFor(t, "assigns go on", func() error { return atLeast(answers.Load(), goal) })
	stopped.Store(true)
	wg.Wait()
	if a, b, found := overlaps(leases); found {
		t.Errorf("keys were handed out twice: %+v and %+v", a, b)
	}
	forgetful(t, m, v, leases)
}

// forgetful stores blobs under the highest keys, takes the master's data away, and looks at what it assigns
// then.
func forgetful(t *testing.T, m, v *testcluster.Server, leases []lease) {
	t.Helper()
	const blobs = 50
	var highest blob.Key
	var fids []blob.FileID
	for range blobs {
		fid, ok, err := assign(m, 1)
		if !ok || err != nil {
			t.Fatal("not assigned:", err)
		}
		if a := testcluster.Do(http.MethodPut, v.URL("/"+fid.String()), fid.String()); a.Status != http.StatusCreated {
			t.Fatal(a.Err())
		}
		highest, fids = max(highest, fid.Key), append(fids, fid)
	}
	if last := leases[len(leases)-1]; highest <= last.first {
		t.Errorf("key %x was assigned after %x", highest, last.first)
	}
	// The master dies and loses its data, then both die.
	for _, both := range []bool{false, true} {
		m.Kill()
		if both {
			v.Kill()
		}
		if err := os.RemoveAll(m.Dir); err != nil {
			t.Fatal(err)
		}
		m.Restart()
		if both {
			v.Restart()
		}
		for range blobs {
			var fid blob.FileID
			testcluster.WaitFor(t, "a master without data assigns", func() (err error) {
				var ok bool
				if fid, ok, err = assign(m, 3); err == nil && !ok {
					err = fmt.Errorf("no fid yet")
				}
				return err
			})
			if fid.Key <= highest {
				t.Fatalf("the master assigns %v, %x is taken (both killed: %v)", fid, highest, both)
			}
			highest = fid.Key + 2
			if a := testcluster.Do(http.MethodPut, v.URL("/"+fid.String()+"_2"), "third"); a.Status != http.StatusCreated {
				t.Fatal(a.Err())
			}
		}
	}
	expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/vol/grow?count=2&collection=after"), "")
	ids := make(map[string]string)
	for _, name := range files(t, v.Dir, "*.dat") {
		id := strings.TrimPrefix(name, "after_")
		if other, twice := ids[id]; twice {
			t.Errorf("a volume id was given twice: %s and %s", name, other)
		}
		ids[id] = name
	}
	for _, fid := range fids {
		if a := testcluster.Do(http.MethodGet, v.URL("/"+fid.String()), ""); string(a.Body) != fid.String() {
			t.Errorf("%v: %v", fid, a.Err())
		}
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		leases []lease
		want   bool
	}{
		{[]lease{{5, 1}, {1, 4}}, false},
		{[]lease{{5, 1}, {1, 5}}, true},
		{[]lease{{5, 1}, {5, 1}}, true},
		{[]lease{{1, 10}, {11, 1}, {3, 1}}, true},
		{nil, false},
	} {
		if _, _, found := overlaps(c.leases); found != c.want {
			t.Errorf("%v: %v", c.leases, found)
		}
	}
}
