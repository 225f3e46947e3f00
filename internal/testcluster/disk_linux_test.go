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

	stored := make(map[string][]byte)
	random := rand.New(rand.NewPCG(7, 7))
	put := func(size int) testcluster.Answer {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		a := testcluster.Do(http.MethodPost, m.URL("/submit"), string(data), "Content-Type: application/octet-stream")
		if a.Status == http.StatusCreated {
			stored[a.Field(t, "fid")] = data
		}
		return a
	}
	// Until even a small one is refused.
	for size := 400 << 10; size > 100; {
		switch a := put(size); a.Status {
		case http.StatusCreated:
		case http.StatusServiceUnavailable, http.StatusInsufficientStorage, http.StatusNotFound, http.StatusInternalServerError:
			size /= 2
		default:
			t.Fatalf("a put on a full disk: %v", a.Err())
		}
		if len(stored) > 2000 {
			t.Fatal("the disk does not get full")
		}
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
		t.Error(fmt.Errorf("only %d blobs were stored", len(stored)))
	}
}
