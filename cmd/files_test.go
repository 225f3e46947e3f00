package cmd

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"weed/internal/testfiles"
)

// transferred is what upload, download and delete print of one file.
type transferred struct {
	FID, FileName, FileURL, Error string
	Size                          int64
	Status                        int
}

// transfer runs a command that must end with code, and returns what it prints.
func transfer(t *testing.T, code int, args ...string) []transferred {
	t.Helper()
	got, stdout, stderr := run(t, args...)
	var list []transferred
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatalf("%s: %v: exit code %d, %q, %q", args, err, got, stdout, stderr)
	}
	if got != code || strings.Count(stderr, "\n") != min(code, 1) {
		t.Fatalf("%s: exit code %d, %q, %s; want %d", args, got, stderr, stdout, code)
	}
	return list
}

// holds checks the content of a file.
func holds(t *testing.T, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes, %v; want %d", path, len(got), err, len(want))
	}
}

// TestFiles takes a directory and a file of several chunks to a store and back, and deletes them.
func TestFiles(t *testing.T) {
	master, p := store(t)
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	testfiles.Write(t, filepath.Join(tree, "a.jpg"), []byte("picture a"))
	testfiles.Write(t, filepath.Join(tree, "deep", "b.jpg"), []byte("picture b"))
	testfiles.Write(t, filepath.Join(tree, "deep", "c.png"), []byte("not included"))
	content := testfiles.Noise(2<<20 + 4321)
	big := testfiles.Write(t, filepath.Join(dir, "big.bin"), content)

	up := transfer(t, exitOK, "upload", "-server="+master, "-dir="+tree, "-include=*.jpg", "-collection=pic", "-replication=000",
		"-ttl=1d", "-maxMB=1", big)
	var names, fids []string
	for _, u := range up {
		names, fids = append(names, u.FileName), append(fids, u.FID)
		if !strings.HasSuffix(u.FileURL, "/"+u.FID) || u.Error != "" {
			t.Errorf("%+v", u)
		}
	}
	if !slices.Equal(names, []string{"big.bin", "a.jpg", "b.jpg"}) || up[0].Size != int64(len(content)) || up[1].Size != 9 {
		t.Fatalf("uploaded %+v", up)
	}
	answer, err := http.Get("http://" + up[0].FileURL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); err != nil || !bytes.Equal(b, content) {
		t.Errorf("the chunked file is %d bytes over HTTP, %v", len(b), err)
	}
	var manifest struct{ Chunks []struct{ FID string } }
	text := await(t, http.StatusOK, "GET", "http://"+up[0].FileURL+"?cm=false", "")
	if err := json.Unmarshal([]byte(text), &manifest); err != nil || len(manifest.Chunks) != 3 {
		t.Fatalf("-maxMB=1 made %s, %v", text, err)
	}

	copies := filepath.Join(dir, "copies")
	transfer(t, exitOK, append([]string{"download", "-server", master, "-dir", copies}, fids...)...)
	holds(t, filepath.Join(copies, "big.bin"), content)
	holds(t, filepath.Join(copies, "a.jpg"), []byte("picture a"))
	holds(t, filepath.Join(copies, "b.jpg"), []byte("picture b"))

	gone := transfer(t, exitFailure, append([]string{"delete", "-server", master, "nonsense"}, fids...)...)
	if gone[0].Status != http.StatusBadRequest || gone[1].Status != http.StatusAccepted || gone[3].Size != 9 {
		t.Errorf("deleted %+v", gone)
	}
	for _, fid := range append(fids, manifest.Chunks[0].FID, manifest.Chunks[2].FID) {
		host, _, _ := strings.Cut(up[0].FileURL, "/")
		await(t, http.StatusNotFound, "GET", "http://"+host+"/"+fid, "")
	}
	transfer(t, exitFailure, "download", "-server", master, "-dir", copies, fids[1])
	if gone = transfer(t, exitFailure, "delete", "-server", master, fids[1]); gone[0].Status != http.StatusNotFound {
		t.Errorf("deleted twice: %+v", gone)
	}

	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	if up = transfer(t, exitFailure, "upload", "-server", master, big); up[0].Error == "" || up[0].FID != "" {
		t.Errorf("without a store: %+v", up)
	}
}

// TestDownloadStaysInItsDirectory reads a file that was stored under the name of one outside of -dir.
func TestDownloadStaysInItsDirectory(t *testing.T) {
	master, _ := store(t)
	target, victim := testfiles.Trap(t)
	var fids []string
	for _, name := range []string{"../victim", victim, "link", ".."} {
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\nreplaced\r\n--b--\r\n"
		answer, err := http.Post("http://"+master+"/submit", "multipart/form-data; boundary=b", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %d, %s, %v", name, answer.StatusCode, b, err)
		}
		fids = append(fids, field(t, string(b), "fid"))
	}
	for _, d := range transfer(t, exitOK, append([]string{"download", "-server", master, "-dir", target}, fids...)...) {
		if filepath.Dir(d.FileName) != target {
			t.Errorf("%+v", d)
		}
		holds(t, d.FileName, []byte("replaced"))
	}
	testfiles.CheckTrap(t, target, victim)
}

// TestFilesUsage covers command lines that are refused before a master is asked.
func TestFilesUsage(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"upload", exitUsage, "weed upload: name files, or a directory with -dir\n"},
		{"download", exitUsage, "weed download: a fid is needed"},
		{"delete -server=localhost:1", exitUsage, "weed delete: a fid is needed"},
		{"upload -master=x f", exitUsage, "weed upload: unknown flag -master; "},
		{"upload -include=* f", exitFailure, "weed upload: -include: it chooses files of -dir"},
		{"upload -dir=. -include=[", exitFailure, "weed upload: -include: \"[\" is not a pattern\n"},
		{"upload -replication=9999 f", exitFailure, "weed upload: -replication: malformed replication"},
		{"upload -collection=a/b f", exitFailure, "weed upload: -collection: malformed collection"},
		{"upload -ttl=3x f", exitFailure, "weed upload: -ttl: malformed "},
		{"upload -maxMB=-1 f", exitFailure, "weed upload: -maxMB: -1 is not a size in MB from 0 to 2047\n"},
		{"upload -server= f", exitFailure, "weed upload: -server: at least one master is needed\n"},
		{"upload -dir=/does/not/exist", exitFailure, "weed upload: "},
		{"download -server=x 3,01637037d6", exitFailure, "weed download: -server: \"x\" is not a host:port\n"},
	} {
		code, stdout, stderr := execute(t, c.line)
		if code != c.code || stdout != "" || !strings.HasPrefix(stderr, c.want) || strings.Count(stderr, "\n") != c.code {
			t.Errorf("weed %s: exit code %d, %q, %q; want %d, %q", c.line, code, stdout, stderr, c.code, c.want)
		}
	}
}
