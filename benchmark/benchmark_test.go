package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newStore(t *testing.T) *clienttest.Store {
	s := clienttest.NewStore()
	t.Cleanup(s.Close)
	return s
}

func configFor(s *clienttest.Store) Config {
	return Config{Masters: []string{s.Addr}, Concurrency: 4, Size: 100, N: 200, Write: true, Read: true}
}

func TestRun(t *testing.T) {
	s := newStore(t)
	cfg := configFor(s)
	cfg.Replication = "001"
	cfg.DeletePercent = 30
	var out bytes.Buffer
	report, err := Run(context.Background(), cfg, &out)
	if err != nil {
		t.Fatalf("Run = %v\n%s", err, &out)
	}
	if len(report.Phases) != 3 {
		t.Fatalf("%d phases", len(report.Phases))
	}
	w, d, r := report.Phases[0], report.Phases[1], report.Phases[2]
	if w.Completed != 200 || w.Failed != 0 || w.Bytes < 200*100 || w.Bytes > 200*163 {
		t.Errorf("write phase %+v", w)
	}
	if d.Completed < 20 || d.Completed > 120 || len(s.Blobs()) != 200-int(d.Completed) {
		t.Errorf("%d deleted of 30 %% of 200, %d left", d.Completed, len(s.Blobs()))
	}
	if r.Completed != 200 || r.Failed != 0 {
		t.Errorf("read phase %+v", r)
	}
	if want := "collection=benchmark&replication=001"; s.Assigns()[0] != want {
		t.Errorf("assigns ask %q, want %q", s.Assigns()[0], want)
	}
	sizes := make(map[int]bool)
	for _, b := range s.Blobs() {
		sizes[len(b.Content)] = true
	}
	if len(sizes) < 10 {
		t.Errorf("%d different sizes: nothing random is added", len(sizes))
	}
	for _, line := range []string{
		"------------ Writing Benchmark ----------", "------------ Deleting Benchmark ----------",
		"------------ Randomly Reading Benchmark ----------", "Concurrency Level:      4",
		"Complete requests:      200", "Failed requests:        0",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, &out)
		}
	}
}

func TestText(t *testing.T) {
	p := newPhase("Writing", 16, 20000)
	for i := range 100 {
		p.record(time.Duration(i+1)*100*time.Microsecond, 1055, nil)
	}
	p.record(time.Second, 0, errors.New("disk on fire"))
	p.Elapsed = 2 * time.Second
	var out bytes.Buffer
	if err := p.writeText(&out); err != nil {
		t.Fatal(err)
	}
	want := `
Concurrency Level:      16
Time taken for tests:   2.000 seconds
Complete requests:      100
Failed requests:        1
Total transferred:      105500 bytes
Requests per second:    50.00 [#/sec]
Transfer rate:          51.51 [Kbytes/sec]

Connection Times (ms)
              min      avg        max      std
Total:        0.1      5.1       10.0      2.9

Percentage of the requests served within a certain time (ms)
   50%      5.0 ms
   66%      6.6 ms
   75%      7.5 ms
   80%      8.0 ms
   90%      9.0 ms
   95%      9.5 ms
   98%      9.8 ms
   99%      9.9 ms
  100%     10.0 ms
Failed: disk on fire
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	line := progressLine(2399, 20000, 2399, 2399*1055, time.Second)
	if want := "Completed 2399 of 20000 requests, 12.0% 2399.0/s 2.4MB/s"; line != want {
		t.Errorf("progress %q, want %q", line, want)
	}
}

func TestJSON(t *testing.T) {
	s := newStore(t)
	cfg := configFor(s)
	cfg.JSON = true
	var out bytes.Buffer
	if _, err := Run(context.Background(), cfg, &out); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Concurrency int
		Phases      []struct {
			Name              string
			Completed         int
			RequestsPerSecond float64
			LatencyMs         map[string]float64
			PercentilesMs     map[string]float64
		}
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	if doc.Concurrency != 4 || len(doc.Phases) != 2 || doc.Phases[0].Completed != 200 ||
		doc.Phases[1].RequestsPerSecond <= 0 || doc.Phases[0].PercentilesMs["99"] <= 0 || doc.Phases[0].LatencyMs["avg"] <= 0 {
		t.Errorf("report %+v", doc)
	}
}

func TestFailuresAreNoticed(t *testing.T) {
	for name, tc := range map[string]struct {
		mangle func(fid string, b []byte) []byte
		keep   bool
		says   string
	}{
		"flipped first bit":  {mangle: func(_ string, b []byte) []byte { b[0] ^= 1; return b }, says: "wrong bytes at offset 0 "},
		"flipped last bit":   {mangle: func(_ string, b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, says: "wrong bytes"},
		"cut short":          {mangle: func(_ string, b []byte) []byte { return b[:len(b)-1] }, says: "were written"},
		"empty":              {mangle: func(string, []byte) []byte { return []byte{} }, says: "has 0 bytes"},
		"lost":               {mangle: func(string, []byte) []byte { return nil }, says: "not found"},
		"back from the dead": {keep: true, says: "was deleted and is there"},
	} {
		s := newStore(t)
		s.OnRead, s.KeepDeleted = tc.mangle, tc.keep
		cfg := configFor(s)
		if tc.keep {
			cfg.DeletePercent = 100
		}
		var out bytes.Buffer
		report, err := Run(context.Background(), cfg, &out)
		last := report.Phases[len(report.Phases)-1]
		if !errors.Is(err, ErrFailedRequests) || last.Failed != 200 || last.Completed != 0 {
			t.Errorf("%s: Run = %v, %d failed, %d completed", name, err, last.Failed, last.Completed)
		}
		if !regexp.MustCompile(`(?m)^Failed: .*` + tc.says).MatchString(out.String()) {
			t.Errorf("%s: the failure is not told in\n%s", name, &out)
		}
	}
}

func TestListOfFids(t *testing.T) {
	s := newStore(t)
	list := filepath.Join(t.TempDir(), "fids")
	cfg := configFor(s)
	cfg.Read, cfg.ListFile, cfg.DeletePercent = false, list, 20
	if _, err := Run(context.Background(), cfg, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(list)
	if err != nil || len(strings.Fields(string(text))) != len(s.Blobs()) {
		t.Fatalf("list of %d fids, %d files; %v", len(strings.Fields(string(text))), len(s.Blobs()), err)
	}
	// Another process, which knows nothing but the list, reads with a default size.
	read := Config{Masters: cfg.Masters, ListFile: list, Read: true, Sequential: true}
	report, err := Run(context.Background(), read, io.Discard)
	if err != nil || report.Phases[0].Completed != int64(len(s.Blobs())) || report.Phases[0].Name != "Sequentially Reading" {
		t.Errorf("Run = %v, %+v", err, report.Phases)
	}
	s.OnRead = func(fid string, b []byte) []byte { return b[:len(b)/2] }
	if _, err = Run(context.Background(), read, io.Discard); !errors.Is(err, ErrFailedRequests) {
		t.Errorf("Run over halved files = %v, want ErrFailedRequests", err)
	}
}

func TestInterruption(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	writes := 0
	s.OnWrite = func(string, clienttest.Blob) int {
		if writes++; writes == 50 {
			cancel()
		}
		return 0
	}
	var out bytes.Buffer
	report, err := Run(ctx, configFor(s), &out)
	if !errors.Is(err, context.Canceled) || !report.Interrupted || len(report.Phases) != 1 {
		t.Fatalf("Run = %v, %+v", err, report)
	}
	p := report.Phases[0]
	if p.Completed == 0 || p.Completed > 54 || p.Failed != 0 {
		t.Errorf("%d completed, %d failed", p.Completed, p.Failed)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("Complete requests:      %d\n", p.Completed)) {
		t.Errorf("what was done is not printed:\n%s", &out)
	}
}

func TestInvalid(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	bad := filepath.Join(t.TempDir(), "bad")
	os.WriteFile(empty, []byte("\n"), 0o600)
	os.WriteFile(bad, []byte("3,01637037d6\nnonsense\n"), 0o600)
	for name, cfg := range map[string]Config{
		"nothing":      {},
		"no list":      {Read: true},
		"empty list":   {Read: true, ListFile: empty},
		"bad list":     {Read: true, ListFile: bad},
		"concurrency":  {Write: true, Concurrency: -1},
		"percentage":   {Write: true, DeletePercent: 101},
		"only deletes": {Read: true, ListFile: empty, DeletePercent: 1},
		"collection":   {Write: true, Collection: "a/b"},
	} {
		if _, err := Run(context.Background(), cfg, io.Discard); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: Run = %v, want ErrInvalid", name, err)
		}
	}
}

func TestContent(t *testing.T) {
	it := item{key: 0x1234, volume: 3, cookie: 0x637037d6}
	for size := range 100 {
		b := make([]byte, size)
		it.fill(b)
		if at := it.check(b); at != -1 {
			t.Fatalf("%d bytes: wrong at %d", size, at)
		}
		for i := range b {
			b[i] ^= 4
			if at := it.check(b); at != i/8*8 {
				t.Fatalf("%d bytes, byte %d flipped: found at %d", size, i, at)
			}
			b[i] ^= 4
		}
		for _, other := range []item{{it.key + 1, it.volume, it.cookie}, {it.key, it.volume + 1, it.cookie}, {it.key, it.volume, it.cookie + 1}} {
			if size >= 8 && other.check(b) != 0 {
				t.Fatalf("%d bytes: %+v has the content of %+v", size, other, it)
			}
		}
		if size >= 16 && it.check(b[:size-1]) != 0 {
			t.Fatalf("%d bytes: a prefix passes for a whole file", size)
		}
	}
}

func BenchmarkFill(b *testing.B) {
	buf := make([]byte, 1024)
	b.SetBytes(1024)
	for b.Loop() {
		item{key: 7, cookie: 9, volume: 1}.fill(buf)
	}
}

func BenchmarkCheck(b *testing.B) {
	buf := make([]byte, 1024)
	it := item{key: 7, cookie: 9, volume: 1}
	it.fill(buf)
	b.SetBytes(1024)
	for b.Loop() {
		if it.check(buf) >= 0 {
			b.Fatal("wrong")
		}
	}
}
