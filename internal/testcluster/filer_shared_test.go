package testcluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weed/internal/cassandratest"
	"weed/internal/redistest"
	"weed/internal/testcluster"
)

// sharedStore is a real server that keeps one tree for several filers.
type sharedStore struct {
	flags                        []string // of the filers; those of the first one, too
	first                        []string
	kill, restart, pause, resume func() error
	rounds                       int // of faults while much is written
	// left counts what is left in it of a tree from which everything was removed, by kind.
	left func(t *testing.T) (map[string]int, error)
}

// claimTime is longer than a filer stands still on a busy machine.
const claimTime = 10 * time.Second

func nothingFails(f func()) func() error { return func() error { f(); return nil } }

// TestFilersShareRedis runs two filers on one Redis.
func TestFilersShareRedis(t *testing.T) {
	t.Parallel()
	const secret = "not for the list of processes"
	r := redistest.Start(t, "--requirepass", secret)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	filersShare(t, sharedStore{
		flags: []string{"-redis.server=" + r.Addr(), "-redis.passwordFile=" + file},
		kill:  nothingFails(r.Kill), restart: nothingFails(r.Restart), pause: nothingFails(r.Pause), resume: nothingFails(r.Resume), rounds: 6,
		left: func(t *testing.T) (map[string]int, error) { return redisLeft(t, r.Addr(), secret) },
	})
}

// TestFilersShareCassandra runs two filers on one Cassandra.
func TestFilersShareCassandra(t *testing.T) {
	t.Parallel()
	c := cassandratest.Start(t)
	filersShare(t, sharedStore{
		flags: []string{"-cassandra.server=" + c.Addr()}, first: []string{"-cassandra.createSchema"},
		kill: nothingFails(c.Kill), restart: c.Restart, pause: c.Pause, resume: c.Resume,
		left: func(t *testing.T) (map[string]int, error) { return cassandraLeft(t, c.Addr()) },
	})
}

// shared is two filers on one tree.
type shared struct {
	*testing.T
	store  sharedStore
	master *testcluster.Server
	volume *testcluster.Server
	filers [2]*testcluster.Server
}

// filersShare lets two filers change one tree: they see the same at once, one wins, and whatever dies, no chunk is
// without an entry and no entry without its chunks.
func filersShare(t *testing.T, store sharedStore) {
	c := testcluster.New(t)
	s := &shared{T: t, store: store, master: c.StartMaster(), volume: c.StartVolume("-max=20")}
	c.WaitWritable()
	flags := append([]string{"-maxMB=1", "-claimTime=" + claimTime.String()}, store.flags...)
	s.filers[0] = c.StartFiler(append(flags, store.first...)...)
	s.filers[1] = c.StartFiler(flags...)

	s.seeTheSame()
	s.oneWins()
	s.race()
	s.audit("after a race")
	s.filerDies()
	s.audit("after a filer has died")
	s.storeFails("killed", store.kill, store.restart)
	s.storeFails("standing still", store.pause, store.resume)
	s.audit("after the store has failed")
	s.faults()
	s.audit("after faults")
	s.removeAll()
}

// must sends a request to a filer that has to be answered so.
func (s *shared) must(status int, filer int, method, path, body string, headers ...string) testcluster.Answer {
	s.Helper()
	answer := testcluster.Do(method, s.filers[filer].URL(path), body, headers...)
	if err := answer.Want(status); err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return answer
}

// seeTheSame changes files through one filer and reads them through the other.
func (s *shared) seeTheSame() {
	for n := range 6 {
		here, there, path := n%2, 1-n%2, fmt.Sprintf("/same/%d/f", n)
		for _, content := range []string{"one", "two"} {
			s.must(http.StatusCreated, here, http.MethodPut, path, content)
			if got := s.must(http.StatusOK, there, http.MethodGet, path, ""); string(got.Body) != content {
				s.Errorf("%s: the other filer has %q, not %q", path, got.Body, content)
			}
		}
		s.must(http.StatusNoContent, there, http.MethodPost, path+"2?mv.from="+path, "")
		s.must(http.StatusNotFound, here, http.MethodGet, path, "")
		s.must(http.StatusAccepted, here, http.MethodDelete, path+"2", "")
		s.must(http.StatusNotFound, there, http.MethodGet, path+"2", "")
	}
	s.must(http.StatusAccepted, 0, http.MethodDelete, "/same?recursive=true", "")
	s.must(http.StatusNotFound, 1, http.MethodGet, "/same/", "")
}

// both sends a request to each filer at once and returns which of them was answered with the status.
func (s *shared) both(status int, method string, path func(filer int) string, body func(filer int) string, headers ...string) (won []int) {
	var answers [2]testcluster.Answer
	var group sync.WaitGroup
	for i, f := range s.filers {
		group.Go(func() { answers[i] = testcluster.Do(method, f.URL(path(i)), body(i), headers...) })
	}
	group.Wait()
	for i, a := range answers {
		if a.Status == status {
			won = append(won, i)
		}
	}
	if len(won) != 1 {
		s.Errorf("%s %s: %d have won: %v and %v", method, path(0), len(won), answers[0].Err(), answers[1].Err())
	}
	return append(won, -1)
}

// oneWins lets both filers do the same at once.
func (s *shared) oneWins() {
	none := func(int) string { return "" }
	for n := range 5 {
		path := fmt.Sprintf("/one/%d", n)
		same := func(int) string { return path }
		content := func(filer int) string { return fmt.Sprintf("%d of filer %d", n, filer) }
		created := s.both(http.StatusCreated, http.MethodPut, same, content, "If-None-Match: *")[0]
		for filer := range s.filers {
			if got := s.must(http.StatusOK, filer, http.MethodGet, path, ""); string(got.Body) != content(created) {
				s.Errorf("%s: %q, want what filer %d has stored", path, got.Body, created)
			}
		}
		moved := func(filer int) string { return fmt.Sprintf("/to%d/%d", filer, n) }
		winner := s.both(http.StatusNoContent, http.MethodPost, func(filer int) string { return moved(filer) + "?mv.from=" + path }, none)[0]
		if winner >= 0 {
			s.must(http.StatusOK, 1-winner, http.MethodGet, moved(winner), "")
			s.must(http.StatusNotFound, winner, http.MethodGet, moved(1-winner), "")
		}
		etag := s.must(http.StatusCreated, n%2, http.MethodPut, path, "x").Header.Get("ETag")
		s.both(http.StatusCreated, http.MethodPut, same, content, "If-Match: "+etag)
	}
}

// race lets writers of both filers create, replace, move and remove the same few paths.
func (s *shared) race() {
	seed := uint64(time.Now().UnixNano())
	s.Logf("seed %d", seed)
	var group sync.WaitGroup
	for w := range 6 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			path := func() string {
				p := "/race"
				for range 1 + r.IntN(2) {
					p += fmt.Sprintf("/%c", 'a'+r.IntN(3))
				}
				return p
			}
			for n := range 40 {
				f := s.filers[(w+n)%2]
				var answer testcluster.Answer
				switch p := path(); r.IntN(8) {
				case 0, 1, 2:
					answer = testcluster.Do(http.MethodPut, f.URL(p), fmt.Sprintf("writer %d, step %d", w, n))
				case 3:
					answer = testcluster.Do(http.MethodPut, f.URL(p), fmt.Sprintf("writer %d, step %d", w, n), "If-None-Match: *")
				case 4, 5:
					answer = testcluster.Do(http.MethodPost, f.URL(path()+"?mv.from="+p), "")
				case 6:
					answer = testcluster.Do(http.MethodDelete, f.URL(p), "")
				default:
					answer = testcluster.Do(http.MethodDelete, f.URL(p+"?recursive=true"), "")
				}
				if answer.Status == 0 || answer.Status >= 500 {
					s.Errorf("in a race of filers that are well: %v", answer.Err())
				}
			}
		})
	}
	group.Wait()
}

// audit waits until the volumes hold the chunks of the files and nothing else, each in one file, and reads all files
// through both filers.
func (s *shared) audit(when string) {
	s.Helper()
	var chunks [2]int
	for i, f := range s.filers {
		chunks[i] = readAll(s.T, f)
		testcluster.WaitFor(s, when+" fs.verify is clean", func() error {
			if r, code := verify(s.T, s.master, f, "-grace=0s"); code != 0 || r.Leaks > 0 {
				return fmt.Errorf("exit code %d, %+v", code, r)
			}
			return nil
		})
	}
	seen := make(map[string]string)
	for line := range bytes.Lines(s.must(http.StatusOK, 0, http.MethodGet, "/.weed/entries", "").Body) {
		var e struct {
			FullPath string
			Chunks   []struct {
				FID string `json:"file_id"`
			} `json:"chunks"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			s.Fatal(err)
		}
		for _, chunk := range e.Chunks {
			if other, twice := seen[chunk.FID]; twice {
				s.Errorf("%s: chunk %s is in %s and in %s", when, chunk.FID, other, e.FullPath)
			}
			seen[chunk.FID] = e.FullPath
		}
	}
	if chunks[0] != chunks[1] || len(seen) != chunks[0] {
		s.Errorf("%s: the filers have %d and %d chunks, %d of them different", when, chunks[0], chunks[1], len(seen))
	}
	testcluster.WaitFor(s, when+" the volumes hold the chunks of the files and nothing else", func() error {
		if n := fileCount(s.T, s.volume); n != len(seen) {
			return fmt.Errorf("%d blobs, want %d", n, len(seen))
		}
		return nil
	})
	for _, f := range s.filers {
		out, code := weed(s.T, "shell", "-master="+s.master.Addr, "-filer="+f.Addr, "-c", "fs.verify -grace=0s")
		if code != 0 {
			s.Errorf("%s fs.verify ends with %d:\n%s", when, code, out)
		}
	}
}

// stalled is an upload that has sent some chunks and waits.
type stalled struct {
	rest   *io.PipeWriter
	answer chan testcluster.Answer
}

const stalledBytes = 3 << 20

// stall begins an upload whose first chunks are on the volumes when it returns.
func (s *shared) stall(filer int, path string) stalled {
	s.Helper()
	before := fileCount(s.T, s.volume)
	body, rest := io.Pipe()
	up := stalled{rest, make(chan testcluster.Answer, 1)}
	go func() { up.answer <- testcluster.DoStream(http.MethodPut, s.filers[filer].URL(path), body) }()
	if _, err := rest.Write(bytes.Repeat([]byte("s"), stalledBytes)); err != nil {
		s.Fatal(err)
	}
	testcluster.WaitFor(s, "chunks of an upload arrive", func() error {
		return atLeast(int64(fileCount(s.T, s.volume)), int64(before+2))
	})
	return up
}

// finish sends the rest of the upload.
func (u stalled) finish() testcluster.Answer {
	_ = u.rest.Close() // or the filer is gone
	return <-u.answer
}

// filerDies kills a filer in the middle of an upload, and of the removal of a tree. The other one cleans up.
func (s *shared) filerDies() {
	for n := range 30 {
		s.must(http.StatusCreated, n%2, http.MethodPut, fmt.Sprintf("/dies/%d/f", n), "x")
	}
	up := s.stall(0, "/upload")
	s.must(http.StatusAccepted, 0, http.MethodDelete, "/dies?recursive=true", "")
	s.filers[0].Kill()
	if a := up.finish(); a.Status != 0 {
		s.Errorf("an upload to a filer that was killed: %v", a.Err())
	}
	s.must(http.StatusNotFound, 1, http.MethodGet, "/dies/", "")
	s.must(http.StatusNotFound, 1, http.MethodGet, "/upload", "")
	s.must(http.StatusCreated, 1, http.MethodPut, "/upload", "y")
	s.filers[0].Restart()
}

// storeFails lets the store fail in the middle of uploads, and come back.
func (s *shared) storeFails(how string, fail, recover func() error) {
	s.Helper()
	s.must(http.StatusCreated, 0, http.MethodPut, "/kept", how)
	for n := range 10 {
		s.must(http.StatusCreated, n%2, http.MethodPut, fmt.Sprintf("/tree/%d/f", n), "x")
	}
	s.audit("before the store is " + how) // the volumes have come to rest
	ups := [2]stalled{s.stall(0, "/fails/0"), s.stall(1, "/fails/1")}
	s.must(http.StatusAccepted, 0, http.MethodDelete, "/tree?recursive=true", "")
	if err := fail(); err != nil {
		s.Fatal(err)
	}
	refused := func(what string, a testcluster.Answer) {
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			s.Errorf("%s while the store is %s: want 503 with Retry-After: %v, %v", what, how, a.Err(), a.Header)
		}
	}
	var group sync.WaitGroup
	for i, f := range s.filers {
		group.Go(func() { refused("an upload", ups[i].finish()) })
		group.Go(func() { refused("a read", testcluster.Do(http.MethodGet, f.URL("/kept"), "")) })
		group.Go(func() { refused("/readyz", testcluster.Do(http.MethodGet, f.URL("/readyz"), "")) })
	}
	group.Wait()
	if err := recover(); err != nil {
		s.Fatal(err)
	}
	for _, f := range s.filers {
		testcluster.WaitFor(s, "the filer finds its store again", func() error {
			return errors.Join(testcluster.Do(http.MethodGet, f.URL("/readyz"), "").Want(http.StatusOK),
				testcluster.Do(http.MethodGet, f.URL("/kept"), "").Want(http.StatusOK))
		})
	}
	for i, f := range s.filers {
		if got := s.must(http.StatusOK, i, http.MethodGet, "/kept", ""); string(got.Body) != how {
			s.Errorf("after the store was %s: %q", how, got.Body)
		}
		path := fmt.Sprintf("/fails/%d", i)
		switch got := testcluster.Do(http.MethodGet, s.filers[1-i].URL(path), ""); {
		case got.Status == http.StatusOK && len(got.Body) == stalledBytes && how == "standing still": // it went on, and did it
		case got.Status != http.StatusNotFound:
			s.Errorf("%s after the store was %s: %d bytes: %v", path, how, len(got.Body), got.Err())
		}
		// A filer whose claims have run out meanwhile may say 503 once.
		testcluster.WaitFor(s, "files can be written", func() error {
			return testcluster.Do(http.MethodPut, f.URL(path), strings.Repeat("n", stalledBytes)).Want(http.StatusCreated)
		})
	}
}

// faults lets writers go on while the store and the filers are killed and stand still. What was acknowledged is there.
func (s *shared) faults() {
	if s.store.rounds == 0 {
		return
	}
	var works [2]*filerWork
	ctx, stop := context.WithCancel(s.Context())
	defer stop()
	var group sync.WaitGroup
	for i, f := range s.filers {
		w := &filerWork{url: f.URL(""), root: fmt.Sprintf("/faults%d", i), want: make([]string, 3)}
		works[i] = w
		for n := range w.want {
			group.Go(func() { w.run(ctx, n) })
		}
	}
	for round := range s.store.rounds {
		for _, w := range works {
			goal := w.done.Load() + 40
			testcluster.WaitFor(s, "writes go on", func() error { return atLeast(w.done.Load(), goal) })
		}
		f := s.filers[round%2]
		var err error
		switch round % 3 {
		case 0:
			err = errors.Join(s.store.kill(), s.store.restart())
		case 1:
			f.Kill()
			f.Restart()
		default:
			err = s.store.pause()
			f.Kill()
			err = errors.Join(err, s.store.resume())
			f.Restart()
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	stop()
	group.Wait()
	for i, w := range works {
		for n, want := range w.want {
			if want == "" {
				continue
			}
			path := fmt.Sprintf("%s/w%d/kept", w.root, n)
			if got := testcluster.Do(http.MethodGet, s.filers[1-i].URL(path), ""); string(got.Body) != want {
				s.Errorf("%s: %d bytes, want those acknowledged, %d: %v", path, len(got.Body), len(want), got.Err())
			}
		}
	}
}

// removeAll removes what there is, by both filers, and looks at what is left in the store.
func (s *shared) removeAll() {
	for _, line := range bytes.Split(s.must(http.StatusOK, 0, http.MethodGet, "/.weed/entries", "").Body, []byte("\n")) {
		var e struct{ FullPath string }
		if json.Unmarshal(line, &e) == nil && strings.Count(e.FullPath, "/") == 1 && len(e.FullPath) > 1 {
			s.must(http.StatusAccepted, len(e.FullPath)%2, http.MethodDelete, e.FullPath+"?recursive=true", "")
		}
	}
	s.audit("when all is removed")
	for _, f := range s.filers {
		if code := f.Term(); code != 0 {
			s.Errorf("exit code %d after SIGTERM", code)
		}
	}
	s.filers[0].Restart() // it claims nothing, and cleans up what is left
	testcluster.WaitFor(s, "the store is empty", func() error {
		left, err := s.store.left(s.T)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v are left", left)
		}
		return err
	})
}
