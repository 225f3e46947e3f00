package testcluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"weed/filer"
	"weed/filer/store"
	"weed/filer/store/bolt"
	"weed/internal/testcluster"
)

const (
	filerCrashes = 9
	filerWriters = 8
)

// TestFilerKilled kills a filer, its volume server, or both, again and again while files are written, replaced, moved and deleted. Every file that
// is listed can be read, what was acknowledged is there, no claim and no drop is left, fs.verify is clean, and the volumes
// hold the chunks of the files and nothing else.
func TestFilerKilled(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m := c.StartMaster()
	v := c.StartVolume("-max=20")
	c.WaitWritable()
	f := c.StartFiler("-maxMB=1")

	w := filerWork{url: f.URL(""), want: make([]string, filerWriters)}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range filerWriters {
		group.Go(func() { w.run(ctx, i) })
	}
	for round := range filerCrashes {
		goal := w.done.Load() + 150
		testcluster.WaitFor(t, "writes go on", func() error { return atLeast(w.done.Load(), goal) })
		if round%3 > 0 {
			f.Kill()
		}
		if round%3 < 2 {
			v.Kill()
			v.Restart()
		}
		if round%3 > 0 {
			f.Restart()
		}
	}
	stop()
	group.Wait()
	f.Kill() // whatever is under way
	f.Restart()

	for i, want := range w.want {
		if want == "" {
			continue
		}
		if got := testcluster.Do(http.MethodGet, f.URL(fmt.Sprintf("/w%d/kept", i)), ""); string(got.Body) != want {
			t.Errorf("writer %d: %d bytes, want those acknowledged, %d: %v", i, len(got.Body), len(want), got.Err())
		}
	}
	testcluster.WaitFor(t, "fs.verify is clean", func() error {
		if r, code := verify(t, m, f, "-grace=0s"); code != 0 {
			return fmt.Errorf("exit code %d, %+v", code, r)
		}
		return nil
	})
	chunks := readAll(t, f)
	testcluster.WaitFor(t, "the volumes hold the chunks of the files and nothing else", func() error {
		if n := fileCount(t, v); n != chunks {
			return fmt.Errorf("%d blobs, want %d", n, chunks)
		}
		return nil
	})
	if code := f.Term(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	s, err := bolt.Open(f.Dir, store.Options{FIDs: filer.FIDs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	claims, err := s.Claims(t.Context())
	if err != nil || len(claims) > 0 {
		t.Errorf("%d claims are left, %v", len(claims), err)
	}
	swept, err := s.Sweep(t.Context(), 1)
	if err != nil || swept.Records > 0 {
		t.Errorf("%d records of removed directories are left, %v", swept.Records, err)
	}
}

// filerWork is what writers do to a filer. Each has a directory to itself.
type filerWork struct {
	url  string
	done atomic.Int64
	want []string // the file "kept" of each writer, "" when its last write was not answered
}

func (w *filerWork) run(ctx context.Context, i int) {
	dir := fmt.Sprintf("%s/w%d", w.url, i)
	do := func(method, path, body string, status int) bool {
		ok := testcluster.Do(method, dir+path, body).Status == status
		if ok {
			w.done.Add(1)
		}
		return ok
	}
	for k := 0; ctx.Err() == nil; k++ {
		kept := strings.Repeat(fmt.Sprintf("%d-%d ", i, k), 200)
		w.want[i] = ""
		if do(http.MethodPut, "/kept", kept, http.StatusCreated) {
			w.want[i] = kept
		}
		do(http.MethodPut, fmt.Sprintf("/large%d", k%2), strings.Repeat(kept, 1000+k%7*100), http.StatusCreated)
		for n := range 4 {
			do(http.MethodPut, fmt.Sprintf("/d/%d/%d", k%3, n), kept, http.StatusCreated)
		}
		do(http.MethodPost, fmt.Sprintf("/moved%d?mv.from=/w%d/d/%d/1", k%2, i, k%3), "", http.StatusNoContent)
		do(http.MethodDelete, fmt.Sprintf("/d/%d?recursive=true", (k+1)%3), "", http.StatusAccepted)
	}
}

// readAll reads every file of a filer and returns the number of their chunks.
func readAll(t *testing.T, f *testcluster.Server) (chunks int) {
	t.Helper()
	answer := testcluster.Do(http.MethodGet, f.URL("/.weed/entries"), "")
	if err := answer.Want(http.StatusOK); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(answer.Body) {
		var e struct {
			FullPath string
			Mode     uint32
			FileSize int
			Chunks   []struct{} `json:"chunks"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Mode>>31 == 1 {
			continue
		}
		chunks += len(e.Chunks)
		if got := testcluster.Do(http.MethodGet, f.URL(e.FullPath), ""); got.Status != http.StatusOK || len(got.Body) != e.FileSize {
			t.Errorf("%s: %d bytes of %d: %v", e.FullPath, len(got.Body), e.FileSize, got.Err())
		}
	}
	return chunks
}

// fileCount returns the number of blobs on a volume server.
func fileCount(t *testing.T, v *testcluster.Server) (n int) {
	t.Helper()
	var status struct{ Volumes []struct{ FileCount int } }
	answer := testcluster.Do(http.MethodGet, v.URL("/status"), "")
	if err := json.Unmarshal(answer.Body, &status); err != nil {
		t.Fatalf("%v: %v", err, answer.Err())
	}
	for _, volume := range status.Volumes {
		n += volume.FileCount
	}
	return n
}
