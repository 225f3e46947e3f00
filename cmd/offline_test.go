package cmd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/freeport"
	"weed/internal/testfiles"
	"weed/internal/vfs"
	"weed/storage"
)

// writeVolume makes volume 5 of the collection pics in a new directory: three blobs, of which the second is deleted, and
// the third is large.
func writeVolume(t *testing.T) (dir string, large []byte) {
	t.Helper()
	dir, large = t.TempDir(), testfiles.Noise(3<<20)
	store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: dir, MaxVolumes: 1}}, storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := store.Create(5, "pics", blob.Placement{}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range []storage.Needle{
		{Name: []byte("../a.txt"), Mime: []byte("text/plain"), Data: []byte("first"), LastModified: 1700000000},
		{Name: []byte("gone"), Data: []byte("second")},
		{Name: []byte("large.bin"), Data: large, LastModified: 1800000000},
	} {
		n.Key, n.Cookie = blob.Key(i+1), 0x637037d6
		if err := v.Put(&n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Delete(2, 0x637037d6); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, large
}

// untar returns the files of an archive by name.
func untar(t *testing.T, content []byte) map[string]string {
	t.Helper()
	files := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(b)
	}
}

// mustRun runs weed, which must end with code and complain in so many lines.
func mustRun(t *testing.T, code, complaints int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := run(t, args...)
	if got != code || strings.Count(stderr, "\n") != complaints {
		t.Fatalf("weed %s: exit code %d, %q; want %d and %d lines; %.2000s", strings.Join(args, " "), got, stderr, code, complaints, stdout)
	}
	return stdout, stderr
}

func TestExport(t *testing.T) {
	dir, large := writeVolume(t)
	at := []string{"-dir", dir, "-collection=pics", "-volumeId=5"}
	list, _ := mustRun(t, exitOK, 0, append([]string{"export", "-deleted"}, at...)...)
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[1], "5,01637037d6\t../a.txt\t5\tfalse\ttext/plain\t2023-11-") ||
		!strings.HasSuffix(lines[1], "\t\tfalse\t8\t72") || !strings.Contains(lines[2], "\ttrue\t") || !strings.Contains(lines[4], "*tombstone") {
		t.Errorf("listed\n%s", list)
	}
	if list, _ = mustRun(t, exitOK, 0, append([]string{"export"}, at...)...); strings.Count(list, "\n") != 3 {
		t.Errorf("listed\n%s", list)
	}
	output := filepath.Join(t.TempDir(), "x.tar")
	mustRun(t, exitOK, 0, append([]string{"export", "-o", output}, at...)...)
	archive, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if got := untar(t, archive); len(got) != 2 || got["text/plain/1_.._a.txt"] != "first" || got["3_large.bin"] != string(large) {
		t.Errorf("archived %d files", len(got))
	}
	stdout, _ := mustRun(t, exitOK, 0, append([]string{"export", "-o=-", "-newer=2027-01-01T00:00:00", "-fileNameFormat={{.Key}}{{.Ext}}"}, at...)...)
	if got := untar(t, []byte(stdout)); len(got) != 1 || got["5,03637037d6.bin"] != string(large) {
		t.Errorf("archived %d files", len(got))
	}
	if left, err := filepath.Glob(output + "*"); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestFixAndExportDamaged damages a volume in the middle: what is whole comes out, and what is lost is told.
func TestFixAndExportDamaged(t *testing.T) {
	dir, large := writeVolume(t)
	at := []string{"-dir", dir, "-collection=pics", "-volumeId=5"}
	dat, idx := filepath.Join(dir, "pics_5.dat"), filepath.Join(dir, "pics_5.idx")
	before, err := os.ReadFile(idx)
	if err != nil {
		t.Fatal(err)
	}
	testfiles.Write(t, idx, []byte("nonsense"))
	stdout, _ := mustRun(t, exitOK, 0, append([]string{"fix"}, at...)...)
	if !strings.HasSuffix(stdout, " bytes, 3 puts, 1 deletes, 2 blobs live\n") {
		t.Errorf("fixed: %s", stdout)
	}
	holds(t, idx, before)

	content, err := os.ReadFile(dat)
	if err != nil {
		t.Fatal(err)
	}
	content[8+22] ^= 1
	testfiles.Write(t, dat, content)
	stdout, stderr := mustRun(t, exitFailure, 1, append([]string{"fix"}, at...)...)
	if !strings.Contains(stdout, "\nlost: bytes 8 to 72: ") || !strings.Contains(stderr, "without 64 bytes of the log in 1 places") {
		t.Errorf("fixed: %s%s", stdout, stderr)
	}
	output := filepath.Join(t.TempDir(), "x.tar")
	_, stderr = mustRun(t, exitFailure, 2, append([]string{"export", "-o", output}, at...)...)
	archive, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if got := untar(t, archive); len(got) != 1 || got["3_large.bin"] != string(large) || !strings.HasPrefix(stderr, "left out: bytes 8 to 72") {
		t.Errorf("archived %d files; %s", len(got), stderr)
	}
	holds(t, dat, content)
}

func TestCompact(t *testing.T) {
	dir, large := writeVolume(t)
	at := []string{"-dir", dir, "-collection=pics", "-volumeId=5"}
	stdout, _ := mustRun(t, exitOK, 0, append([]string{"compact"}, at...)...)
	if !strings.HasPrefix(stdout, "volume 5: ") || !strings.HasSuffix(stdout, ", with 2 blobs\n") {
		t.Error(stdout)
	}
	list, _ := mustRun(t, exitOK, 0, append([]string{"export", "-deleted"}, at...)...)
	if strings.Count(list, "\n") != 3 {
		t.Errorf("listed\n%s", list)
	}
	archive, _ := mustRun(t, exitOK, 0, append([]string{"export", "-o=-"}, at...)...)
	if got := untar(t, []byte(archive)); len(got) != 2 || got["3_large.bin"] != string(large) {
		t.Errorf("archived %d files", len(got))
	}
}

// TestOfflineRefused runs the tools where they may not.
func TestOfflineRefused(t *testing.T) {
	dir, _ := writeVolume(t)
	port := freeport.Port(t)
	start(t, "volume", "-dir", dir, fmt.Sprint("-port=", port), fmt.Sprint("-mserver=127.0.0.1:", freeport.Port(t)))
	await(t, http.StatusOK, "GET", fmt.Sprint("http://127.0.0.1:", port, "/healthz"), "")
	for _, command := range offlineCommands {
		_, stderr := mustRun(t, exitFailure, 1, command, "-dir", dir, "-collection=pics", "-volumeId=5")
		if want := "weed " + command + ": directory " + dir + ": a server or another tool has it open"; !strings.HasPrefix(stderr, want) {
			t.Errorf("%s", stderr)
		}
	}
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"-dir=" + dir, exitUsage, "-volumeId: name the volume by its id"},
		{"-volumeId=x", exitFailure, `-volumeId: "x" is not a whole number`},
		{"-volumeId=5 more", exitUsage, `unexpected argument "more"`},
		{"-volumeId=5 -collection=a/b", exitFailure, "-collection: malformed collection"},
		{"-volumeId=5 -dir=/does/not/exist", exitFailure, "directory /does/not/exist can't be read: "},
	} {
		for _, command := range offlineCommands {
			code, _, stderr := execute(t, command+" "+c.line)
			if code != c.code || !strings.HasPrefix(stderr, "weed "+command+": "+c.want) {
				t.Errorf("weed %s %s: exit code %d, %q", command, c.line, code, stderr)
			}
		}
	}
	for line, want := range map[string]string{
		"export -volumeId=5 -o=x.zip":                       `-o: "x.zip" is neither`,
		"export -volumeId=5 -o=x.tar -deleted":              "-deleted: ",
		"export -volumeId=5 -fileNameFormat={{.Id}}":        "-fileNameFormat: ",
		"export -volumeId=5 -o=- -fileNameFormat={{.Nome}}": "-fileNameFormat: malformed format",
		"export -volumeId=5 -newer=yesterday":               "-newer: ",
	} {
		if code, _, stderr := execute(t, line); code != exitFailure || !strings.HasPrefix(stderr, "weed export: "+want) {
			t.Errorf("weed %s: exit code %d, %q", line, code, stderr)
		}
	}
}

// TestBackup copies a volume of a running server, again and again, and serves the copy.
func TestBackup(t *testing.T) {
	master, p := store(t)
	assigned := await(t, http.StatusOK, "GET", "http://"+master+"/dir/assign?collection=pics&count=3", "")
	first := field(t, assigned, "fid")
	url := func(fid string) string { return "http://" + field(t, assigned, "url") + "/" + fid }
	volume, _, _ := strings.Cut(first, ",")
	await(t, http.StatusCreated, "PUT", url(first), "first")
	dir := filepath.Join(t.TempDir(), "deep", "backup")
	args := []string{"backup", "-server", master, "-dir", dir, "-collection=pics", "-volumeId", volume}
	want := func(text string) {
		t.Helper()
		if stdout, _ := mustRun(t, exitOK, 0, args...); !strings.Contains(stdout, text) {
			t.Errorf("%s, want %q", stdout, text)
		}
	}
	want("(all of it: there was none)")
	await(t, http.StatusCreated, "PUT", url(first+"_1"), strings.Repeat("second", 1000))
	want("(what was new)")
	want("of which 0 were copied now")
	await(t, http.StatusAccepted, "DELETE", url(first), "")
	want("(what was new)")
	mustRun(t, exitFailure, 1, "backup", "-server", master, "-dir", dir, "-volumeId", volume)
	stdout, _ := mustRun(t, exitOK, 0, "export", "-dir", dir, "-collection=pics", "-volumeId", volume)
	if strings.Count(stdout, "\n") != 2 {
		t.Errorf("listed\n%s", stdout)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	mustRun(t, exitFailure, 1, args...)

	port := freeport.Port(t)
	start(t, "volume", "-dir", dir, fmt.Sprint("-port=", port), fmt.Sprint("-mserver=127.0.0.1:", freeport.Port(t)))
	copied := fmt.Sprint("http://127.0.0.1:", port, "/", first)
	if got := await(t, http.StatusOK, "GET", copied+"_1", ""); got != strings.Repeat("second", 1000) {
		t.Errorf("the copy serves %d bytes", len(got))
	}
	await(t, http.StatusNotFound, "GET", copied, "")
	_, stderr := mustRun(t, exitFailure, 1, args...)
	if !strings.Contains(stderr, "has it open") {
		t.Error(stderr)
	}
}

// TestShellContent checks and exports a volume that is being served.
func TestShellContent(t *testing.T) {
	master, _ := store(t)
	assigned := await(t, http.StatusOK, "GET", "http://"+master+"/dir/assign?count=3", "")
	fid, url := field(t, assigned, "fid"), "http://"+field(t, assigned, "url")+"/"
	volume, _, _ := strings.Cut(fid, ",")
	text := strings.Repeat("text ", 1000)
	await(t, http.StatusCreated, "PUT", url+fid, "short")
	await(t, http.StatusCreated, "PUT", url+fid+"_1", text)
	await(t, http.StatusCreated, "PUT", url+fid+"_2", "gone")
	await(t, http.StatusAccepted, "DELETE", url+fid+"_2", "")
	stdout, _ := mustRun(t, exitOK, 0, "shell", "-master", master, "-c", "volume.fsck "+volume)
	if words := strings.Join(strings.Fields(stdout), " "); !strings.HasPrefix(words, "VOLUME SERVER BLOBS SIZE PROBLEMS "+volume) || !strings.Contains(words, " 2 ") {
		t.Error(stdout)
	}
	output := filepath.Join(t.TempDir(), "x.tar")
	stdout, _ = mustRun(t, exitOK, 0, "shell", "-master", master, "-c", "volume.export -o "+output+" -fileNameFormat {{.Key}} "+volume)
	if !strings.HasPrefix(stdout, "2 blobs of volume ") {
		t.Error(stdout)
	}
	archive, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	got := untar(t, archive)
	packed, err := gzip.NewReader(strings.NewReader(got[fidAt(t, fid, 1)+".gz"]))
	if err != nil {
		t.Fatalf("%v; %d files", err, len(got))
	}
	if b, err := io.ReadAll(packed); err != nil || string(b) != text || got[fid] != "short" || len(got) != 2 {
		t.Errorf("archived %d files, %v", len(got), err)
	}
	for _, line := range []string{"volume.export 3", "volume.export -o=x.zip 3", "volume.export -o=x.tar -fileNameFormat={{ 3", "volume.export -o=x.tar", "volume.fsck x"} {
		mustRun(t, exitUsage, 2, "shell", "-master", master, "-c", line)
	}
	mustRun(t, exitFailure, 1, "shell", "-master", master, "-c", "volume.export -o="+output+" 999")
}

// fidAt returns the fid that stands i behind another one.
func fidAt(t *testing.T, fid string, i int) string {
	t.Helper()
	parsed, err := blob.ParseFileID(fmt.Sprint(fid, "_", i))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.String()
}

// offlineCommands are the tools that work on a volume that no server has open.
var offlineCommands = []string{"compact", "export", "fix"}
