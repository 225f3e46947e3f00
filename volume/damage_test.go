package volume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weed/internal/vfs"
	"weed/internal/wire"
	"weed/storage"
)

// flip changes one byte of the volume's log in the middle of content, and waits until the file's time tells.
func flip(t *testing.T, path string, content string) {
	t.Helper()
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(log, []byte(content))
	if at < 0 {
		t.Fatal("the content is not in the log")
	}
	at += len(content) / 2
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	eventually(t, "the file shows that it was written to", func() bool {
		if _, err := f.WriteAt([]byte{log[at] ^ 1}, int64(at)); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(path)
		return err == nil && !after.ModTime().Equal(before.ModTime())
	})
}

func TestDamagedBlobsAreNeverServed(t *testing.T) {
	dir := t.TempDir()
	n := start(t, func(c *Config) { c.Dirs = []storage.Directory{{Path: dir, MaxVolumes: 7}} })
	for i, size := range []int{1, 1024, copyLimitBytes + 1, 3 << 20} {
		for _, readBefore := range []bool{false, true} {
			content := noise(size, uint32(i*2+1))
			if size == 1 {
				content = "the one and only small text that is looked for"
			}
			n.put(fid, content, "Seaweed-Cache-Control", "max-age=60")
			if readBefore {
				n.get(fid).want(200).is(content)
				n.get(fid, "Range", "bytes=0-3").want(206)
			}
			flip(t, filepath.Join(dir, "3.dat"), content)
			for _, header := range [][]string{nil, {"Range", "bytes=0-0"}, {"Range", "bytes=0-0,5-6"}, {"Accept-Encoding", "gzip"}} {
				n.get(fid, header...).want(500).says("damaged").has("ETag", "", "Cache-Control", "", "Last-Modified", "", "Content-Range", "", "Content-Disposition", "")
			}
			n.do("HEAD", fid, "").want(500)
			// It can be replaced, and the others are as they were.
			n.put("/3,02637037d6", "other")
			n.get("/3,02637037d6").want(200).is("other")
			n.put(fid, "new")
			n.get(fid).want(200).is("new")
		}
	}
}

func TestDiskIsFull(t *testing.T) {
	disk := vfs.NewMem()
	n := start(t, func(c *Config) { c.FS, c.MinFreePercent, c.Pulse = disk, 10, 10*time.Millisecond })
	n.put(fid, "kept")
	n.put("/3,06637037d6", noise(2<<20, 1)) // so that what is left is little, and stays refused however often it is looked at
	usage, err := disk.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	used := usage.TotalBytes - usage.FreeBytes
	disk.SetCapacity(used + 100<<10)
	n.do("PUT", "/3,02637037d6", noise(200<<10, 1)).want(507)
	n.get("/3,02637037d6").want(404)
	n.get(fid).want(200).is("kept")
	n.do("PUT", "/3,03637037d6", "x").want(507).has("Retry-After", "")
	// A delete needs little, and makes room for the vacuum to come.
	n.do("DELETE", fid, "").want(202)
	// Room is noticed by itself, and that there is little of it, too.
	disk.SetCapacity(100 << 20)
	eventually(t, "puts are taken again", func() bool { return n.do("PUT", fid, "again").StatusCode == 201 })
	disk.SetCapacity(used + 600<<10)
	n.put("/3,04637037d6", noise(500<<10, 1))
	eventually(t, "puts are refused ahead of time", func() bool { return n.do("PUT", "/3,05637037d6", "x").StatusCode == 507 })
	n.do("POST", wire.PathVolumeCreate, `{"id":4}`).want(507).says("disk is full")
	n.get(fid).want(200).is("again")
}

func TestDiskFails(t *testing.T) {
	disk := vfs.NewMem()
	n := start(t, func(c *Config) { c.FS, c.Fsync = disk, storage.SyncAlways })
	n.failsToClose = true // what was not synced when the disk failed can't be made durable any more
	n.put(fid, "kept")
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("3.dat", vfs.OpSync) {
			return syscall.EIO
		}
		return nil
	})
	a := n.do("PUT", "/3,02637037d6", "lost").want(500)
	if strings.Contains(a.body, "3.dat") || strings.Contains(a.body, "input/output") {
		t.Errorf("an internal is told: %s", a.body)
	}
	disk.SetFault(nil)
	n.get("/3,02637037d6").want(404)
	n.get(fid).want(200).is("kept")
	refused := n.do("PUT", "/3,02637037d6", "refused").want(503).says("read-only").says("damaged")
	if refused.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("3.dat", vfs.OpRead) {
			return syscall.EIO
		}
		return nil
	})
	n.get(fid).want(500).has("ETag", "")
	disk.SetFault(nil)
	n.get(fid).want(200).is("kept")
	n.do("DELETE", fid, "").want(503)
}

func TestReadOnlyVolume(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "kept")
	n.do("POST", wire.PathVolumeMark, `{"id":3,"readOnly":true}`).want(200).says(`"ReadOnly":true`)
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		if a := n.do(method, fid, "x").want(503).says("read-only: marked by the operator"); a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", method)
		}
	}
	n.get(fid).want(200).is("kept")
	n.do("POST", wire.PathVolumeMark, `{"id":3,"readOnly":false}`).want(200).says(`"ReadOnly":false`)
	n.put(fid, "changed")
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	change := func(c *Config) { c.Dirs = []storage.Directory{{Path: dir, MaxVolumes: 7}} }
	n := start(t, change)
	n.create(4, "pics")
	n.put(fid, "kept", "Seaweed-Owner", "me", "Content-Type", "text/css")
	n.put("/4,02637037d6", "deleted")
	n.do("DELETE", "/4,02637037d6", "").want(202)
	n.stop()
	n = run(t, change)
	n.get(fid).want(200).is("kept").has("Owner", "me", "Content-Type", "text/css")
	n.get("/4,02637037d6").want(404)
}

func TestUploadsInFlightAreBounded(t *testing.T) {
	t.Parallel() // it waits for a time-out
	const limit = 1 << 20
	n := start(t, func(c *Config) { c.FileSizeLimitBytes, c.UploadBudgetBytes = limit, limit })
	// Bodies that have begun and do not go on hold the whole budget.
	var writers []*stalled
	for i := range 9 {
		writers = append(writers, stall(t, n, fmt.Sprintf("/3,%02x637037d6", i+1), 120<<10))
	}
	eventually(t, "an upload finds no room", func() bool { return n.budget.Waiting() > 0 })
	a := n.do("PUT", "/3,ff637037d6", noise(100<<10, 1)).want(429)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for _, w := range writers {
		w.abort()
	}
	eventually(t, "the memory is given back", func() bool { return n.budget.InUse() == 0 })
	n.put("/3,ff637037d6", noise(limit, 1))
	// Nothing of the aborted ones is left.
	for i := range writers {
		n.get(fmt.Sprintf("/3,%02x637037d6", i+1)).want(404)
	}
	if status := n.store.Volumes()[0]; status.Live != 1 || status.DeletedCount != 0 {
		t.Errorf("the volume holds %+v", status)
	}
}

func TestSlowUploadsAreGivenUp(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) { c.IdleTimeout = time.Second })
	n.put(fid, "old")
	w := stall(t, n, fid, 1<<20)
	w.wait() // the server closes
	eventually(t, "the memory is given back", func() bool { return n.budget.InUse() == 0 })
	n.get(fid).want(200).is("old")
}

// Readers of a blob that is being replaced see one version or another, whole, and writers that race leave one.
func TestReadersSeeNoMixture(t *testing.T) {
	n := start(t, nil)
	versions := map[string]bool{}
	var contents []string
	for i, size := range []int{10, 3000, copyLimitBytes + 100, 300 << 10} {
		c := strings.Repeat(string(rune('a'+i)), size)
		contents = append(contents, c)
		versions[c] = true
	}
	n.put(fid, contents[0])
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	fail := make(chan error, 16)
	for w := range 4 {
		writers.Go(func() {
			for i := range 40 {
				a, err := n.try("PUT", fid, strings.NewReader(contents[(w+i)%len(contents)]))
				if err == nil && a.StatusCode != 201 {
					err = fmt.Errorf("PUT: %d %s", a.StatusCode, a.body)
				}
				if err != nil {
					fail <- err
					return
				}
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				a, err := n.try("GET", fid, nil)
				switch {
				case err != nil:
				case a.StatusCode != 200 || !versions[a.body]:
					err = fmt.Errorf("GET: %d, %d bytes", a.StatusCode, len(a.body))
				case a.Header.Get("ETag") != etagOf(a.body):
					err = errors.New("the ETag is another version's")
				}
				if err != nil {
					fail <- err
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
}
