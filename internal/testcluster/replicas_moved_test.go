package testcluster_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weed/internal/testcluster"
)

// moved is three servers with some blobs, whose files operators move by hand: the walk-through's section 8.
type moved struct {
	*testcluster.Cluster
	t          *testing.T
	m          *testcluster.Server
	v1, v2, v3 *testcluster.Server
	blobs      map[string]string // content by fid
	at         map[string][]string
}

func startMoved(t *testing.T, replication string, flags ...string) *moved {
	t.Helper()
	c := &moved{Cluster: testcluster.New(t), t: t, blobs: make(map[string]string), at: make(map[string][]string)}
	c.m = c.StartMaster(append([]string{"-defaultReplication=" + replication}, flags...)...)
	for range 3 {
		c.StartVolume("-max=200")
	}
	c.v1, c.v2, c.v3 = c.Volumes[0], c.Volumes[1], c.Volumes[2]
	testcluster.WaitFor(t, "blobs in volumes of all combinations of servers", func() error {
		collection := fmt.Sprint("c", len(c.blobs)/10)
		for range 10 {
			text := fmt.Sprint("blob ", len(c.blobs))
			a := submit(t, c.m.URL("/submit?collection="+collection), "x", text)
			if err := a.Want(http.StatusCreated); err != nil {
				return err
			}
			fid := a.Field(t, "fid")
			c.blobs[fid] = text
			volume, _, _ := strings.Cut(fid, ",")
			at, err := locations(c.m, volume)
			if err != nil {
				return err
			}
			slices.Sort(at)
			c.at[volume] = at
		}
		sets := make(map[string]bool)
		for _, at := range c.at {
			sets[strings.Join(at, " ")] = true
		}
		return atLeast(int64(len(sets)), 3)
	})
	return c
}

// stop ends servers, as operators do before they touch files.
func (c *moved) stop(servers ...*testcluster.Server) {
	c.t.Helper()
	for _, s := range servers {
		if code := s.Term(); code != 0 {
			c.t.Errorf("%s: exit code %d", s.Addr, code)
		}
	}
}

// carry copies the files of a server to another, which are moved if they are not kept.
func (c *moved) carry(from, to *testcluster.Server, keep bool) {
	c.t.Helper()
	for _, name := range files(c.t, from.Dir, "[^.]*") {
		if err := os.WriteFile(filepath.Join(to.Dir, name), read(c.t, filepath.Join(from.Dir, name)), 0o600); err != nil {
			c.t.Fatal(err)
		}
		if !keep {
			if err := os.Remove(filepath.Join(from.Dir, name)); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// waitAt waits until the masters say that every volume is at the servers that are wanted, and these serve all of
// its blobs.
func (c *moved) waitAt(what string, want func(before []string) []*testcluster.Server) {
	c.t.Helper()
	for fid, text := range c.blobs {
		volume, _, _ := strings.Cut(fid, ",")
		servers := want(c.at[volume])
		var addrs []string
		for _, s := range servers {
			addrs = append(addrs, s.Addr)
		}
		slices.Sort(addrs)
		testcluster.WaitFor(c.t, fmt.Sprintf("%s: volume %s, which was at %v", what, volume, c.at[volume]), func() error {
			at, err := locations(c.m, volume)
			if slices.Sort(at); err == nil && !slices.Equal(at, addrs) {
				err = fmt.Errorf("it is at %v", at)
			}
			return err
		})
		for _, s := range servers {
			testcluster.WaitFor(c.t, fmt.Sprintf("%s: %s from %s", what, fid, s.Addr), func() error {
				a := testcluster.Do(http.MethodGet, s.URL("/"+fid), "")
				if a.Status == http.StatusOK && string(a.Body) != text {
					c.t.Fatalf("%s: %s from %s is %q", what, fid, s.Addr, a.Body)
				}
				return a.Want(http.StatusOK)
			})
		}
	}
	for _, name := range c.logs() {
		id, _ := strings.CutSuffix(name[strings.LastIndexByte(name, '_')+1:], ".dat")
		if before, ok := c.at[id]; ok {
			waitSame(c.t, name, want(before)...)
		}
	}
}

// logs are the names of all volumes' logs.
func (c *moved) logs() (names []string) {
	for _, v := range c.Volumes {
		names = append(names, files(c.t, v.Dir, "*.dat")...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// takePuts waits until every blob can be overwritten, and restores it.
func (c *moved) takePuts() {
	c.t.Helper()
	for fid, text := range c.blobs {
		volume, _, _ := strings.Cut(fid, ",")
		for _, body := range []string{"something else", text} {
			testcluster.WaitFor(c.t, "a put of "+fid, func() error {
				at, err := locations(c.m, volume)
				if err != nil {
					return err
				}
				return testcluster.Do(http.MethodPut, "http://"+at[0]+"/"+fid, body).Want(http.StatusCreated)
			})
		}
	}
}

// TestReplicasFilesMoved moves all files of a server to another; each volume has one copy.
func TestReplicasFilesMoved(t *testing.T) {
	t.Parallel()
	c := startMoved(t, "000")
	c.stop(c.v1, c.v2)
	c.carry(c.v1, c.v2, false)
	c.v2.Restart()
	c.waitAt("moved", func(before []string) []*testcluster.Server {
		if before[0] == c.v3.Addr {
			return []*testcluster.Server{c.v3}
		}
		return []*testcluster.Server{c.v2}
	})
	c.takePuts()
}

// TestReplicasServerAway does nothing while one of three servers is away: every blob of two copies is there.
func TestReplicasServerAway(t *testing.T) {
	t.Parallel()
	c := startMoved(t, "001")
	c.stop(c.v3)
	for fid, text := range c.blobs {
		volume, _, _ := strings.Cut(fid, ",")
		testcluster.WaitFor(t, fid, func() error {
			for _, v := range []*testcluster.Server{c.v1, c.v2} {
				if !slices.Contains(c.at[volume], v.Addr) {
					continue
				}
				if a := testcluster.Do(http.MethodGet, v.URL("/"+fid), ""); a.Status != http.StatusOK || string(a.Body) != text {
					return a.Err()
				}
			}
			a := testcluster.Do(http.MethodGet, c.m.URL("/"+fid), "")
			if err := a.Want(http.StatusMovedPermanently); err != nil {
				return err
			}
			return testcluster.Do(http.MethodGet, a.Header.Get("Location"), "").Want(http.StatusOK)
		})
	}
	c.waitAt("back alone", func(before []string) (left []*testcluster.Server) {
		for _, v := range []*testcluster.Server{c.v1, c.v2} {
			if slices.Contains(before, v.Addr) {
				left = append(left, v)
			}
		}
		return left
	})
}

// both are the servers that have everything when the files of the third were carried to them.
func (c *moved) both([]string) []*testcluster.Server { return []*testcluster.Server{c.v1, c.v2} }

// TestReplicasFilesCopied carries the files of a server to both others, which have a copy of every volume then.
func TestReplicasFilesCopied(t *testing.T) {
	t.Parallel()
	c := startMoved(t, "001")
	c.stop(c.v3, c.v1, c.v2)
	c.carry(c.v3, c.v1, true)
	c.carry(c.v3, c.v2, true)
	c.v1.Restart()
	c.v2.Restart()
	c.waitAt("copied", c.both)
	c.takePuts()
	c.waitAt("copied and written", c.both)
}

// TestReplicasFilesMerged moves the files of a server to one of both others: a volume that it lacked has moved, one
// of which both had a copy has one copy then, which is made again on the third server.
func TestReplicasFilesMerged(t *testing.T) {
	t.Parallel()
	c := startMoved(t, "001", "-repairDelay=2s")
	c.stop(c.v3, c.v1)
	c.carry(c.v3, c.v1, false)
	c.v1.Restart()
	c.waitAt("merged", c.both)
	c.takePuts()
	c.waitAt("merged and written", c.both)
}
