package testcluster_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"weed/client/filer"
	"weed/internal/testcluster"
)

// verified is what fs.verify -json prints.
type verified struct {
	Clean bool
	filer.VerifyResult
	DanglingFiles []filer.DanglingFile
	LeakedChunks  []filer.LeakedChunk
	Problems      []string
}

// verify runs fs.verify with flags and returns what it found, and its exit code.
func verify(t *testing.T, m, f *testcluster.Server, flags string) (v verified, code int) {
	t.Helper()
	out, code := weed(t, "shell", "-master="+m.Addr, "-filer="+f.Addr, "-c", "fs.verify -json "+flags)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &v) == nil {
			return v, code
		}
	}
	t.Fatalf("fs.verify %s: exit code %d\n%s", flags, code, out)
	return v, code
}

// TestVerify plants leaks, and deletes chunks behind the filer's back: fs.verify finds both, and repairs what it is told
// to repair.
func TestVerify(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartMaster(), c.StartVolume("-max=20")
	c.WaitWritable()
	f := c.StartFiler("-maxMB=1")
	large := strings.Repeat("large ", 500_000)
	for i := range 5 {
		expect(t, http.StatusCreated, "*", http.MethodPut, f.URL(fmt.Sprintf("/d/%d", i)), "small")
	}
	expect(t, http.StatusCreated, "*", http.MethodPut, f.URL("/d/large"), large)
	if r, code := verify(t, m, f, "-grace=0s"); code != 0 || !r.Clean || r.Files != 6 || r.Directories != 1 || r.Chunks != 8 || r.Blobs != 8 {
		t.Fatalf("a new tree: exit code %d, %+v", code, r)
	}

	plant := func(header ...string) (url string) {
		fid := testcluster.Do(http.MethodGet, m.URL("/dir/assign"), "").Field(t, "fid")
		expect(t, http.StatusCreated, "*", http.MethodPut, v.URL("/"+fid), "leak", header...)
		return v.URL("/" + fid)
	}
	namespace := testcluster.Do(http.MethodGet, f.URL("/.weed/status"), "").Field(t, "Namespace")
	leak, foreign, other := plant("Seaweed-Filer: "+namespace), plant(), plant("Seaweed-Filer: 0123456789abcdef")
	if r, code := verify(t, m, f, "-fix"); code != 0 || r.Young != 1 || r.Leaks != 0 {
		t.Errorf("a leak that is young: exit code %d, %+v", code, r)
	}
	r, code := verify(t, m, f, "-grace=0s")
	if code != 1 || r.Leaks != 1 || r.Queued != 0 || len(r.LeakedChunks) != 1 || !strings.HasSuffix(leak, "/"+r.LeakedChunks[0].FID) {
		t.Errorf("a leak: exit code %d, %+v", code, r)
	}
	expect(t, http.StatusOK, "leak", http.MethodGet, leak, "")
	if r, code = verify(t, m, f, "-fix -grace=0s"); code != 0 || r.Leaks != 1 || r.Queued != 1 {
		t.Errorf("a leak to be mended: exit code %d, %+v", code, r)
	}
	testcluster.WaitFor(t, "the leak is deleted", func() error {
		return testcluster.Do(http.MethodGet, leak, "").Want(http.StatusNotFound)
	})
	for _, url := range []string{foreign, other} {
		expect(t, http.StatusOK, "leak", http.MethodGet, url, "")
	}
	if r, code = verify(t, m, f, "-grace=0s"); code != 0 || r.Chunks != 8 || r.Blobs != 10 {
		t.Errorf("after that: exit code %d, %+v", code, r)
	}

	testVerifyDangling(t, m, v, f)
	testVerifyWithout(t, m, v, f, plant("Seaweed-Filer: "+namespace))
}

// testVerifyDangling deletes a chunk of /d/large.
func testVerifyDangling(t *testing.T, m, v, f *testcluster.Server) {
	t.Helper()
	var entry filer.Entry
	if err := json.Unmarshal(expect(t, http.StatusOK, "*", http.MethodGet, f.URL("/d/large?metadata=true"), "").Body, &entry); err != nil {
		t.Fatal(err)
	}
	expect(t, http.StatusAccepted, "*", http.MethodDelete, v.URL("/"+entry.Chunks[1].FID), "")
	for _, flags := range []string{"", "-fix -grace=0s"} {
		r, code := verify(t, m, f, flags)
		if code != 1 || r.Dangling != 1 || len(r.DanglingFiles) != 1 || r.DanglingFiles[0].Path != "/d/large" ||
			r.DanglingFiles[0].FID != entry.Chunks[1].FID || r.DanglingFiles[0].Missing != 1 || r.DanglingFiles[0].Chunks != 3 {
			t.Errorf("fs.verify %s: exit code %d, %+v", flags, code, r)
		}
		expect(t, http.StatusOK, "*", http.MethodGet, f.URL("/d/large?metadata=true"), "")
	}
	out, code := weed(t, "shell", "-master="+m.Addr, "-filer="+f.Addr, "-c", "fs.verify -fix -moveDangling")
	wantText(t, "move aside", out, "/d/large: misses 1 of 3 chunks", "/d/large: moved to /lost+found/d/large", "1 file misses chunks in /lost+found.", "Clean.")
	if code != 0 {
		t.Errorf("exit code %d of a file that was moved aside", code)
	}
	expect(t, http.StatusNotFound, "*", http.MethodGet, f.URL("/d/large"), "")
	expect(t, http.StatusPartialContent, "large ", http.MethodGet, f.URL("/lost+found/d/large"), "", "Range: bytes=0-5")
	if r, code := verify(t, m, f, "-grace=0s"); code != 0 || r.Aside != 1 || r.Dangling != 0 {
		t.Errorf("a file that is aside: exit code %d, %+v", code, r)
	}
}

// testVerifyWithout verifies while the volume server is away: nothing is repaired, and a file is not taken for lost.
func testVerifyWithout(t *testing.T, m, v, f *testcluster.Server, leak string) {
	t.Helper()
	v.Kill()
	r, code := verify(t, m, f, "-fix -moveDangling -grace=0s")
	if code != 1 || r.Failures == 0 || len(r.Problems) == 0 || r.Queued != 0 || r.Dangling != 0 {
		t.Errorf("without the volume server: exit code %d, %+v", code, r)
	}
	v.Restart()
	expect(t, http.StatusOK, "leak", http.MethodGet, leak, "")
	testcluster.WaitFor(t, "the leak is found when the server is there again", func() error {
		if r, code := verify(t, m, f, "-fix -grace=0s"); code != 0 || r.Queued != 1 {
			return fmt.Errorf("exit code %d, %+v", code, r)
		}
		return nil
	})
}
