package files

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/client"
	"weed/client/clienttest"
	"weed/internal/testfiles"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var bg = context.Background()

func newStore(t *testing.T) (*clienttest.Store, *client.Client) {
	t.Helper()
	s := clienttest.NewStore()
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{Masters: []string{s.Addr}, RetryWait: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return s, c
}

func TestThereAndBack(t *testing.T) {
	s, c := newStore(t)
	dir := t.TempDir()
	one := testfiles.Write(t, filepath.Join(dir, "one.txt"), []byte("hello weed-fs!\n"))
	testfiles.Write(t, filepath.Join(dir, "tree", "a.jpg"), []byte("picture a"))
	testfiles.Write(t, filepath.Join(dir, "tree", "deep", "b.jpg"), []byte("picture b"))
	testfiles.Write(t, filepath.Join(dir, "tree", "deep", "c.png"), []byte("not included"))
	up, err := Upload(bg, c, UploadConfig{
		Files: []string{one}, Dir: filepath.Join(dir, "tree"), Include: "*.jpg", Collection: "pictures",
		Replication: "001", TTL: "3d", MaxMB: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	var names, fids []string
	for _, u := range up {
		names, fids = append(names, u.FileName), append(fids, u.FID)
		if u.FileURL != s.Addr+"/"+u.FID {
			t.Errorf("URL %q of %s", u.FileURL, u.FID)
		}
	}
	if !slices.Equal(names, []string{"one.txt", "a.jpg", "b.jpg"}) || up[0].Size != 15 {
		t.Errorf("uploaded %+v", up)
	}
	b := s.Blobs()[fids[0]]
	if !strings.HasPrefix(b.Header.Get("Content-Type"), "text/plain") || !strings.Contains(b.Query, "ts=") || !strings.Contains(b.Query, "ttl=3d") {
		t.Errorf("stored with %v, %s", b.Header, b.Query)
	}
	if q := s.Assigns()[0]; q != "collection=pictures&replication=001&ttl=3d" {
		t.Errorf("assign asks %s", q)
	}

	target := filepath.Join(dir, "copies")
	down, err := Download(bg, c, DownloadConfig{Dir: target, FIDs: fids})
	if err != nil || len(down) != 3 || down[0].FileName != filepath.Join(target, "one.txt") || down[0].Size != 15 {
		t.Fatalf("downloaded %+v, %v", down, err)
	}
	got, err := os.ReadFile(filepath.Join(target, "b.jpg"))
	if err != nil || string(got) != "picture b" {
		t.Errorf("b.jpg holds %q, %v", got, err)
	}
	if info, err := os.Stat(down[0].FileName); err != nil || !info.ModTime().Equal(time.Unix(1700000000, 0)) {
		t.Errorf("modified at %v, %v", info.ModTime(), err)
	}

	gone, err := Delete(bg, c, append(fids, "9,0100000001", "nonsense"))
	if !errors.Is(err, ErrFailed) || len(s.Blobs()) != 0 {
		t.Errorf("Delete = %v, %d blobs left", err, len(s.Blobs()))
	}
	var statuses []int
	for _, g := range gone {
		statuses = append(statuses, g.Status)
	}
	if !slices.Equal(statuses, []int{202, 202, 202, 404, 400}) || gone[0].Size != 15 {
		t.Errorf("deleted %+v", gone)
	}
}

func TestBigFilesAreCut(t *testing.T) {
	s, c := newStore(t)
	content := testfiles.Noise(2<<20 + 12345)
	path := testfiles.Write(t, filepath.Join(t.TempDir(), "big.txt"), content)
	up, err := Upload(bg, c, UploadConfig{Files: []string{path}, MaxMB: 1})
	if err != nil {
		t.Fatal(err)
	}
	blobs := s.Blobs()
	top := blobs[up[0].FID]
	var m manifest
	if err := json.Unmarshal(top.Content, &m); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(top.Query, "cm=true") || m.Name != "big.txt" || !strings.HasPrefix(m.Mime, "text/plain") ||
		m.Size != int64(len(content)) || len(m.Chunks) != 3 || up[0].Size != m.Size {
		t.Errorf("manifest %+v, query %s", m, top.Query)
	}
	var joined []byte
	for _, ch := range m.Chunks {
		b := blobs[ch.FID].Content
		if ch.Offset != int64(len(joined)) || ch.Size != int64(len(b)) {
			t.Errorf("chunk %+v of %d bytes at %d", ch, len(b), len(joined))
		}
		joined = append(joined, b...)
	}
	if !bytes.Equal(joined, content) {
		t.Error("the chunks are not the file")
	}
}

func TestFailedChunksLeaveNothing(t *testing.T) {
	for name, refuse := range map[string]func(b clienttest.Blob) bool{
		"the last chunk": func(b clienttest.Blob) bool { return len(b.Content) < 1<<20 && !strings.Contains(b.Query, "cm=true") },
		"the manifest":   func(b clienttest.Blob) bool { return strings.Contains(b.Query, "cm=true") },
	} {
		s, c := newStore(t)
		s.OnWrite = func(_ string, b clienttest.Blob) int {
			if refuse(b) {
				return http.StatusInsufficientStorage
			}
			return 0
		}
		path := testfiles.Write(t, filepath.Join(t.TempDir(), "big"), make([]byte, 3<<20+1))
		up, err := Upload(bg, c, UploadConfig{Files: []string{path}, MaxMB: 1})
		if !errors.Is(err, ErrFailed) || up[0].Error == "" || up[0].FID != "" {
			t.Errorf("%s: Upload = %+v, %v", name, up, err)
		}
		if n := len(s.Blobs()); n != 0 {
			t.Errorf("%s: %d chunks are left", name, n)
		}
	}
}

func TestUploadOfWhatIsNoFile(t *testing.T) {
	_, c := newStore(t)
	dir := t.TempDir()
	good := testfiles.Write(t, filepath.Join(dir, "good"), []byte("x"))
	up, err := Upload(bg, c, UploadConfig{Files: []string{dir, good, filepath.Join(dir, "missing")}})
	if !errors.Is(err, ErrFailed) || up[0].Error == "" || up[1].Error != "" || up[2].Error == "" {
		t.Errorf("Upload = %+v, %v", up, err)
	}
	if _, err := Upload(bg, c, UploadConfig{Dir: dir, Include: "[", Files: nil}); !errors.Is(err, filepath.ErrBadPattern) {
		t.Errorf("Upload with a bad pattern = %v", err)
	}
	if _, err := Upload(bg, c, UploadConfig{Dir: filepath.Join(dir, "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Upload of a missing directory = %v", err)
	}
}

func TestDownloadsStayInTheirDirectory(t *testing.T) {
	s, c := newStore(t)
	target, victim := testfiles.Trap(t)
	told := map[string]string{ // fid -> name told by the store
		"1,0100000001": "../victim", "1,0200000002": `..\victim`, "1,0300000003": "..", "1,0400000004": ".profile",
		"1,0500000005": "", "1,0600000006": "link", "1,0700000007": "/etc/passwd", "1,0800000008": "-rf",
		"1,0900000009": strings.Repeat("x", 300),
	}
	var fids []string
	for fid, name := range told {
		s.Put(fid, clienttest.Blob{Content: []byte(fid), Header: http.Header{"Content-Disposition": {`inline; filename="` + strings.ReplaceAll(name, `\`, `\\`) + `"`}}})
		fids = append(fids, fid)
	}
	fids = append(fids, fids...) // every name is wanted twice
	down, err := Download(bg, c, DownloadConfig{Dir: target, FIDs: fids})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, d := range down {
		got, err := os.ReadFile(d.FileName)
		if err != nil || string(got) != d.FID || filepath.Dir(d.FileName) != target || seen[d.FileName] {
			t.Errorf("%q (told %q) holds %q, %v", d.FileName, told[d.FID], got, err)
		}
		seen[d.FileName] = true
	}
	testfiles.CheckTrap(t, target, victim)
}

func TestBrokenDownloadLeavesTheOldFile(t *testing.T) {
	s, c := newStore(t)
	target := t.TempDir()
	old := testfiles.Write(t, filepath.Join(target, "name"), []byte("old"))
	s.Put("1,0100000001", clienttest.Blob{Content: make([]byte, 1<<20), Header: http.Header{"Content-Disposition": {"inline; filename=name"}}})
	ctx, cancel := context.WithCancel(bg)
	s.OnRead = func(_ string, b []byte) []byte { cancel(); return b }
	down, err := Download(ctx, c, DownloadConfig{Dir: target, FIDs: []string{"1,0100000001"}})
	if !errors.Is(err, context.Canceled) || down[0].Error == "" {
		t.Errorf("Download = %+v, %v", down, err)
	}
	if got, _ := os.ReadFile(old); string(got) != "old" {
		t.Errorf("the old file now has %d bytes", len(got))
	}
	if entries, _ := os.ReadDir(target); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	if err := Print(&out, []Uploaded{{FileName: "a", FileURL: "h:1/3,01637037d6", FID: "3,01637037d6", Size: 5}}); err != nil {
		t.Fatal(err)
	}
	if want := `[{"fileName":"a","fileUrl":"h:1/3,01637037d6","fid":"3,01637037d6","size":5}]` + "\n"; out.String() != want {
		t.Errorf("printed %s", &out)
	}
	out.Reset()
	if Print[Deleted](&out, nil); out.String() != "[]\n" {
		t.Errorf("printed %q for nothing", &out)
	}
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"a.jpg", "../../etc/passwd", "..", ".", "", "a\x00b", "a\\b", "-rf", strings.Repeat("x", 256), "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, told string) {
		name := safeName(told, "3,01637037d6")
		if name != filepath.Base(name) || name == "." || name == ".." || len(name) > maxNameBytes || strings.ContainsAny(name, "/\\\x00") {
			t.Errorf("%q for %q", name, told)
		}
	})
}
