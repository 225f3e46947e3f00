package testcluster_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"weed/internal/testcluster"
)

// TestFullDisk fills the disk of a volume server. Puts are refused, and what was acknowledged is served;
// when there is room again puts work, without a restart, and a restart finds everything.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, minFree := range []string{"0", "10"} {
		t.Run("minFreeSpacePercent="+minFree, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
				t.Skipf("a small disk can't be mounted here (root is needed): %v", err)
			}
			t.Cleanup(func() { // after the server has ended
				if err := syscall.Unmount(disk, 0); err != nil {
					t.Errorf("unmount: %v", err)
				}
			})
			fullDisk(t, disk, "-minFreeSpacePercent="+minFree)
		})
	}
}

func fullDisk(t *testing.T, disk, flag string) {
	t.Helper()
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testcluster.New(t)
	m := c.StartMaster()
	v := c.StartVolume("-dir="+disk, "-max=2", flag)
	c.WaitWritable()

	const most = 2000
	first, ok, err := assign(m, most)
	if !ok {
		t.Fatal("not assigned:", err)
	}
	stored := make(map[string][]byte)
	random := rand.New(rand.NewPCG(7, 7))
	next := 0
	put := func(size int) testcluster.Answer {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		if next == most {
			t.Fatal("the disk does not get full")
		}
		fid := fmt.Sprintf("%v_%d", first, next)
		a := testcluster.Do(http.MethodPut, v.URL("/"+fid), string(data), "Content-Type: application/octet-stream")
		if a.Status == http.StatusCreated {
			stored[fid] = data
			next++
		}
		return a
	}
	// Until even a small one is refused.
	refusals := make(map[int]string)
	for size := 400 << 10; size > 100; {
		a := put(size)
		if a.Status == http.StatusCreated {
			continue
		}
		refusals[a.Status] = string(a.Body)
		size /= 2
	}
	for status, text := range refusals {
		if status != http.StatusInsufficientStorage && status != http.StatusServiceUnavailable {
			t.Errorf("a put on a full disk: %d %s", status, text)
		}
	}
	if refusals[http.StatusInsufficientStorage] == "" {
		t.Errorf("no put on a full disk got 507: %v", refusals)
	}
	if a := testcluster.Do(http.MethodPost, m.URL("/submit"), "small"); a.Status < 500 {
		t.Errorf("a submit on a full disk: %v", a.Err())
	}
	readAll := func(when string) {
		t.Helper()
		for fid, data := range stored {
			if a := testcluster.Do(http.MethodGet, v.URL("/"+fid), ""); !bytes.Equal(a.Body, data) {
				t.Errorf("%s, %s: %v", when, fid, a.Err())
			}
		}
	}
	readAll("on the full disk")
	var victim string // a delete works without room for much
	for victim = range stored {
		break
	}
	a := testcluster.Do(http.MethodDelete, v.URL("/"+victim), "")
	switch a.Status {
	case http.StatusAccepted:
		delete(stored, victim)
	case http.StatusServiceUnavailable, http.StatusInsufficientStorage:
	default:
		t.Errorf("a delete on a full disk: %v", a.Err())
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	testcluster.WaitFor(t, "puts work when there is room again", func() error {
		return put(100 << 10).Want(http.StatusCreated)
	})
	readAll("with room again")
	if code := v.Term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	scanDir(t, disk)
	v.Restart()
	readAll("after a restart")
	testcluster.WaitFor(t, "puts work after a restart", func() error {
		return put(1000).Want(http.StatusCreated)
	})
	if len(stored) < 10 {
		t.Errorf("only %d blobs were stored", len(stored))
	}
}
