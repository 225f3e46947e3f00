package testcluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// noNode is what a put is told that finds no writable volume, and too few servers to make one.
const noNode = `{"error":"Cannot grow volume group! Not enough data node found!"}`

// locations returns where a master says that a volume is, the primary first.
func locations(m *testcluster.Server, volume string) (at []string, err error) {
	a := testcluster.Do(http.MethodGet, m.URL("/dir/lookup?volumeId="+volume), "")
	if err := a.Want(http.StatusOK); err != nil {
		return nil, err
	}
	var answer struct {
		Locations []struct{ URL string }
	}
	if err := json.Unmarshal(a.Body, &answer); err != nil {
		return nil, err
	}
	for _, l := range answer.Locations {
		at = append(at, l.URL)
	}
	return at, nil
}

// followAll gets a URL as curl -L does.
func followAll(url string) testcluster.Answer {
	for range 5 {
		a := testcluster.Do(http.MethodGet, url, "")
		if a.Status != http.StatusMovedPermanently {
			return a
		}
		url = a.Header.Get("Location")
	}
	return testcluster.Answer{}
}

// sameLogs compares the logs of a volume on several servers, byte by byte.
func sameLogs(name string, servers ...*testcluster.Server) error {
	var first []byte
	for i, s := range servers {
		b, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil {
			return err
		}
		if i == 0 {
			first = b
		} else if !bytes.Equal(b, first) {
			at := 0
			for at < min(len(b), len(first)) && b[at] == first[at] {
				at++
			}
			return fmt.Errorf("%s: %d bytes on %s, %d on %s, they differ from byte %d on", name, len(first), servers[0].Addr, len(b), s.Addr, at)
		}
	}
	return nil
}

// startPlaced starts the walk-through's cluster: three masters, two volume servers in dc1 and one in dc2.
func startPlaced(t *testing.T) (c *testcluster.Cluster, a, b, away *testcluster.Server) {
	t.Helper()
	c = testcluster.New(t)
	c.StartMasters(3, "-defaultReplication=100")
	for i, dc := range []string{"dc1", "dc1", "dc2"} {
		c.StartVolume("-mserver="+testcluster.Typed(c.Masters[i].Addr), "-dataCenter="+dc)
	}
	c.WaitWritable()
	return c, c.Volumes[0], c.Volumes[1], c.Volumes[2]
}

// stored submits the file of the walk-through, and returns its fid and the server of dc1 that has a copy.
func stored(t *testing.T, c *testcluster.Cluster) (fid, volume string, holder *testcluster.Server) {
	t.Helper()
	a := submit(t, c.Masters[0].URL("/submit"), "hello.txt", hello)
	if a.Status != http.StatusCreated {
		t.Fatal(a.Err())
	}
	fid = a.Field(t, "fid")
	volume, _, _ = strings.Cut(fid, ",")
	at, err := locations(c.Masters[0], volume)
	if err != nil || len(at) != 2 {
		t.Fatalf("volume %s is at %v: %v", volume, at, err)
	}
	for _, v := range c.Volumes[:2] {
		if at[0] == v.Addr || at[1] == v.Addr {
			holder = v
		}
	}
	if holder == nil || at[0] != c.Volumes[2].Addr && at[1] != c.Volumes[2].Addr {
		t.Fatalf("volume %s is at %v, not in both data centers", volume, at)
	}
	return fid, volume, holder
}

// stops are the ways in which a server goes away.
var stops = []struct {
	name string
	stop func(t *testing.T, s *testcluster.Server)
}{
	{"stopped", func(t *testing.T, s *testcluster.Server) {
		if code := s.Term(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}},
	{"killed", func(_ *testing.T, s *testcluster.Server) { s.Kill() }},
}

// TestReplicasPut is the walk-through's section 3: a put needs every copy, and one that fails is nowhere, then or
// later.
func TestReplicasPut(t *testing.T) {
	t.Parallel()
	for _, how := range stops {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			c, _, _, away := startPlaced(t)
			fid, volume, holder := stored(t, c)
			for _, v := range []*testcluster.Server{holder, away} {
				expect(t, http.StatusOK, hello, http.MethodGet, v.URL("/"+fid), "")
			}
			a := expect(t, http.StatusOK, "*", http.MethodGet, c.Masters[0].URL("/dir/assign?count=20"), "")
			unused := a.Field(t, "fid")
			how.stop(t, away)

			var nowhere []string // fids whose puts have failed
			for i := range 3 {
				next := fmt.Sprintf("%s_%d", unused, i)
				for _, v := range c.Volumes[:2] {
					if a := testcluster.Do(http.MethodPut, v.URL("/"+next), "not to be seen"); a.Status == http.StatusCreated || a.Status == http.StatusGatewayTimeout {
						t.Fatalf("a put with a copy missing: %v", a.Err())
					}
				}
				nowhere = append(nowhere, next)
			}
			testcluster.WaitFor(t, "a submit says that there is no room", func() error {
				a := submit(t, c.Masters[0].URL("/submit"), "hello.txt", "not to be seen")
				if a.Status == http.StatusCreated {
					t.Fatalf("a submit with a copy missing: %s", a.Body)
				}
				if string(a.Body) != noNode {
					return a.Err()
				}
				return a.Want(http.StatusInternalServerError)
			})
			check := func(servers ...*testcluster.Server) {
				t.Helper()
				for _, next := range nowhere {
					for _, s := range servers {
						if a := followAll(s.URL("/" + next)); a.Status != http.StatusNotFound && a.Status != 0 { // 0: sent to who is away
							t.Errorf("a put that failed, from %s: %v", s.Addr, a.Err())
						}
					}
				}
				for _, s := range servers {
					for _, name := range files(t, s.Dir, "*.dat") {
						if strings.Contains(string(read(t, filepath.Join(s.Dir, name))), "not to be seen") {
							t.Errorf("%s on %s contains what could not be put", name, s.Addr)
						}
					}
				}
			}
			check(c.Volumes[:2]...)
			expect(t, http.StatusOK, hello, http.MethodGet, holder.URL("/"+fid), "")
			away.Restart()
			testcluster.WaitFor(t, "puts work again", func() error {
				return testcluster.Do(http.MethodPut, holder.URL("/"+fid), hello+hello).Want(http.StatusCreated)
			})
			check(c.Volumes...)
			expect(t, http.StatusOK, hello+hello, http.MethodGet, away.URL("/"+fid), "")
			waitSame(t, volume+".dat", holder, away)
		})
	}
}

// waitSame waits until the logs of a volume are the same on several servers.
func waitSame(t *testing.T, name string, servers ...*testcluster.Server) {
	t.Helper()
	testcluster.WaitFor(t, "the logs are the same", func() error { return sameLogs(name, servers...) })
}

// watch asks a server for a blob again and again, from before it listens, until stop is called, which returns the
// statuses of all its answers.
func watch(url string) (stop func() map[int]int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan map[int]int)
	go func() {
		seen := make(map[int]int)
		pause := time.NewTicker(time.Millisecond)
		defer pause.Stop()
		for ctx.Err() == nil {
			<-pause.C
			seen[testcluster.Do(http.MethodGet, url, "").Status]++
		}
		done <- seen
	}()
	return func() map[int]int {
		cancel()
		return <-done
	}
}

// TestReplicasDelete is the walk-through's section 4: a delete with a copy away is final. The server that returns
// never serves the file, not even for a moment.
func TestReplicasDelete(t *testing.T) {
	t.Parallel()
	for _, how := range stops {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			c, _, _, away := startPlaced(t)
			fid, volume, holder := stored(t, c)
			how.stop(t, away)
			deleteThroughMaster(t, c, fid)
			expect(t, http.StatusNotFound, "*", http.MethodGet, holder.URL("/"+fid), "")

			answers := watch(away.URL("/" + fid))
			away.Restart()
			testcluster.WaitFor(t, "the server that was away has caught up", func() error {
				return testcluster.Do(http.MethodGet, away.URL("/"+fid), "").Want(http.StatusNotFound)
			})
			testcluster.WaitFor(t, "a put works again", func() error {
				return submit(t, c.Masters[0].URL("/submit"), "hello.txt", hello).Want(http.StatusCreated)
			})
			seen := answers()
			t.Logf("the server that was away answered with %v", seen)
			for status := range seen {
				switch status {
				case 0, http.StatusMovedPermanently, http.StatusServiceUnavailable, http.StatusNotFound:
				default:
					t.Errorf("a deleted file from the server that was away: status %d", status)
				}
			}
			for _, s := range append([]*testcluster.Server{holder, away}, c.Masters...) {
				if a := followAll(s.URL("/" + fid)); a.Status != http.StatusNotFound {
					t.Errorf("a deleted file through %s: %v", s.Addr, a.Err())
				}
			}
			waitSame(t, volume+".dat", holder, away)
			testcluster.WaitFor(t, "the volume takes puts again", func() error {
				return testcluster.Do(http.MethodPut, holder.URL("/"+fid), "anew").Want(http.StatusCreated)
			})
			expect(t, http.StatusOK, "anew", http.MethodGet, away.URL("/"+fid), "")
			waitSame(t, volume+".dat", holder, away)
		})
	}
}

// deleteThroughMaster deletes as curl -L -X DELETE does, and wants the answer within a few seconds.
func deleteThroughMaster(t *testing.T, c *testcluster.Cluster, fid string) {
	t.Helper()
	const soon = 15 * time.Second // leases of 3 s, and a machine that is busy
	began := time.Now()
	testcluster.WaitFor(t, "the delete is answered", func() error {
		a := testcluster.Do(http.MethodDelete, c.Masters[0].URL("/"+fid), "")
		if err := a.Want(http.StatusTemporaryRedirect); err != nil {
			return err
		}
		a = testcluster.Do(http.MethodDelete, a.Header.Get("Location"), "")
		if a.Status == 0 {
			return a.Err() // the primary is the one that is away, and the masters will name another
		}
		if a.Status != http.StatusAccepted || string(a.Body) != `{"size":15}` {
			t.Fatalf("the delete: %v", a.Err())
		}
		return nil
	})
	if took := time.Since(began); took > soon {
		t.Errorf("the delete took %v", took)
	}
}

// TestReplicasOverwrite is the end of section 4: an overwrite with a copy missing fails, and the file is unchanged
// everywhere.
func TestReplicasOverwrite(t *testing.T) {
	t.Parallel()
	c, _, _, away := startPlaced(t)
	fid, volume, holder := stored(t, c)
	away.Kill()
	for range 3 {
		if a := testcluster.Do(http.MethodPut, holder.URL("/"+fid), "other"); a.Status != http.StatusServiceUnavailable {
			t.Errorf("an overwrite with a copy missing: %v", a.Err())
		}
		expect(t, http.StatusOK, hello, http.MethodGet, holder.URL("/"+fid), "")
	}
	away.Restart()
	testcluster.WaitFor(t, "the server that was away serves again", func() error {
		a := testcluster.Do(http.MethodGet, away.URL("/"+fid), "")
		if a.Status == http.StatusOK && string(a.Body) != hello {
			t.Fatalf("the file has changed: %s", a.Body)
		}
		return a.Want(http.StatusOK)
	})
	expect(t, http.StatusOK, hello, http.MethodGet, holder.URL("/"+fid), "")
	waitSame(t, volume+".dat", holder, away)
	testcluster.WaitFor(t, "an overwrite works again", func() error {
		return testcluster.Do(http.MethodPut, holder.URL("/"+fid), "other").Want(http.StatusCreated)
	})
	for _, v := range []*testcluster.Server{holder, away} {
		expect(t, http.StatusOK, "other", http.MethodGet, v.URL("/"+fid), "")
	}
	waitSame(t, volume+".dat", holder, away)
}

// TestReplicasLeftOut leaves a server out that then comes back while the only one that knows better is away. Though
// the log that it has is the longer one, with a put at its end that never succeeded, it does not stand for the volume.
func TestReplicasLeftOut(t *testing.T) {
	t.Parallel()
	c, _, _, _ := startPlaced(t)
	fid, volume, _ := stored(t, c)
	at, err := locations(c.Masters[0], volume)
	if err != nil || len(at) != 2 {
		t.Fatal(at, err)
	}
	server := func(addr string) (s *testcluster.Server) {
		for _, v := range c.Volumes {
			if v.Addr == addr {
				s = v
			}
		}
		return s
	}
	primary, other := server(at[0]), server(at[1])
	name := volume + ".dat"
	before := len(read(t, filepath.Join(primary.Dir, name)))
	other.Pause()
	go testcluster.DoWithin(time.Second, http.MethodPut, primary.URL("/"+fid), strings.Repeat("never acknowledged ", 500))
	testcluster.WaitFor(t, "the primary writes what the other can't", func() error {
		return atLeast(int64(len(read(t, filepath.Join(primary.Dir, name)))), int64(before)+1)
	})
	primary.Kill()
	other.Resume()
	testcluster.WaitFor(t, "the other one deletes the file", func() error {
		return testcluster.Do(http.MethodDelete, other.URL("/"+fid), "").Want(http.StatusAccepted)
	})
	expect(t, http.StatusNotFound, "*", http.MethodGet, other.URL("/"+fid), "")
	other.Kill()
	answers := watch(primary.URL("/" + fid))
	primary.Restart()
	const silence = 10 * time.Second // much more than after which the masters take a server for dead
	<-time.After(silence)
	other.Restart()
	testcluster.WaitFor(t, "both have the volume", func() error {
		for _, s := range []*testcluster.Server{primary, other} {
			if err := testcluster.Do(http.MethodGet, s.URL("/"+fid), "").Want(http.StatusNotFound); err != nil {
				return err
			}
		}
		return nil
	})
	if seen := answers(); seen[http.StatusOK] > 0 {
		t.Errorf("a deleted file is served: %v", seen)
	}
	waitSame(t, name, primary, other)
}
