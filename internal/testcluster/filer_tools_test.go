package testcluster_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weed/client"
	"weed/client/filer"
	"weed/internal/testcluster"
)

// weed runs a tool and returns what it printed, to both outputs, and its exit code.
func weed(t *testing.T, args ...string) (printed string, code int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testcluster.Binary(t), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// must runs a tool that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := weed(t, args...)
	if code != 0 {
		t.Fatalf("weed %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// wantText fails unless text holds all the pieces.
func wantText(t *testing.T, what, text string, pieces ...string) {
	t.Helper()
	for _, piece := range pieces {
		if !strings.Contains(text, piece) {
			t.Errorf("%s: %q is missing in\n%s", what, piece, text)
		}
	}
}

// TestWalkThroughDirectories is the walk-through's section on the filer: two filers with stores of their own do not share
// a tree.
func TestWalkThroughDirectories(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	c.StartServer("-volume.max=20")
	c.WaitWritable()
	f, other := c.StartFiler("-defaultReplicaPlacement=000"), c.StartFiler()

	body, kind := testcluster.Form("hello.txt", hello)
	expect(t, http.StatusCreated, `{"name":"hello.txt","size":15}`, http.MethodPost, f.URL("/foo/"), body, kind)
	expect(t, http.StatusOK, hello, http.MethodGet, f.URL("/foo/hello.txt"), "")
	expect(t, http.StatusNotFound, "*", http.MethodGet, other.URL("/foo/hello.txt"), "")
	page := expect(t, http.StatusOK, "*", http.MethodGet, f.URL("/foo/?pretty=y"), "")
	wantText(t, "listing", string(page.Body), `"Directory": "/foo/"`, `"name": "hello.txt"`, `"fid": "`)
	expect(t, http.StatusAccepted, `{"error":""}`, http.MethodDelete, f.URL("/foo/hello.txt"), "")
	expect(t, http.StatusNotFound, "*", http.MethodGet, f.URL("/foo/hello.txt"), "")
}

// localTree makes a tree of files, one of them of several chunks, with a link that leads out of it.
func localTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, content := range map[string]string{
		"a.txt": "a", "empty": "", "sub/b.txt": "bb", "sub/deep er/c.jpg": strings.Repeat("c", 2<<20+7), "bare/x/y.txt": "y",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "bare/x/y.txt")), os.Symlink("a.txt", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1500000000, 123456789)
	if err := os.Chtimes(filepath.Join(dir, "sub/b.txt"), at, at); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestFilerCopyAndShell copies a tree to a filer and looks at it, and changes it, with the commands of weed shell.
func TestFilerCopyAndShell(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, _ := c.StartServer("-volume.max=20")
	c.WaitWritable()
	f := c.StartFiler("-maxMB=1")
	dir := localTree(t)
	shell := func(script string) (string, int) {
		t.Helper()
		return weed(t, "shell", "-master="+m.Addr, "-filer="+f.Addr, "-c", script)
	}

	wantText(t, "copy", must(t, "filer.copy", dir, f.URL("/in/")), "5 files and 5 directories copied", "2097163 bytes")
	expect(t, http.StatusOK, strings.Repeat("c", 2<<20+7), http.MethodGet, f.URL("/in/tree/sub/deep%20er/c.jpg"), "")
	expect(t, http.StatusOK, "a", http.MethodGet, f.URL("/in/tree/link"), "")
	must(t, "copy", "-include=*.jpg", dir, f.URL("/pictures"))
	expect(t, http.StatusNotFound, "*", http.MethodGet, f.URL("/pictures/a.txt"), "")

	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	out, code := weed(t, "copy", dir, filepath.Join(dir, "missing"), f.URL("/again/"))
	if code != 1 {
		t.Errorf("exit code %d of a copy that failed in part", code)
	}
	wantText(t, "copy", out, "out: a link", "missing: ", "2 files or directories failed")
	expect(t, http.StatusOK, "bb", http.MethodGet, f.URL("/again/tree/sub/b.txt"), "")

	at := expect(t, http.StatusOK, "*", http.MethodGet, f.URL("/in/tree/sub/b.txt"), "").Header.Get("Last-Modified")
	if at != "Fri, 14 Jul 2017 02:40:00 GMT" {
		t.Errorf("modified %s", at)
	}
	saved := filepath.Join(t.TempDir(), "saved")
	for _, step := range []struct{ script, want string }{
		{"fs.ls /in/tree", "a.txt\nbare/\nempty\nlink\nsub/\n"},
		{"fs.ls -l /in/tree/a.txt", "-rw-r-----"},
		{"fs.ls -json /in/tree/sub", `"path":"/in/tree/sub/b.txt","directory":false,"mode":"-rw-r-----","size":2,"chunks":1`},
		{"fs.du -json /in", `{"path":"/in","files":5,"directories":5,"bytes":2097163,"chunks":`},
		{"fs.du /in", "/in/tree\n"},
		{"fs.tree /in/tree", "├── bare/\n│   └── x/\n├── empty\n├── link\n└── sub/\n    ├── b.txt\n    └── deep er/\n        └── c.jpg\n"},
		{"fs.cat /in/tree/sub/b.txt", "bb"},
		{"fs.mv /in/tree/sub/b.txt /moved/; fs.cat /moved/b.txt", "bb"},
		{"fs.configure -prefix=/logs/ -collection=logs; fs.configure -json", `[{"prefix":"/logs/","collection":"logs","replication":"","ttl":""}]`},
		{"fs.configure -prefix=/logs/ -delete -json", "[]"},
		{fmt.Sprintf("fs.meta.save -o='%s' /moved", saved), "1 entry saved"},
		{"fs.rm -r -yes /in; fs.ls /", "again/\nmoved/\npictures/\n"},
		{fmt.Sprintf("fs.meta.load -yes '%s'; fs.cat /moved/b.txt", saved), "1 file and 0 directories loaded.\nbb"},
		{"fs.ls -json /moved", `"mode":"-rw-r-----","size":2,"chunks":1,"mtime":"2017-07-14T02:40:00.123456789Z"`},
	} {
		out, code := shell(step.script)
		if code != 0 {
			t.Errorf("%s: exit code %d", step.script, code)
		}
		wantText(t, step.script, out, step.want)
	}
	for _, script := range []string{"fs.cat /nowhere", "fs.cat /moved", "fs.rm -r /moved", "fs.rm /moved", "fs.ls /nowhere", "fs.mv /nowhere /x"} {
		if out, code := shell(script); code != 1 {
			t.Errorf("%s: exit code %d\n%s", script, code, out)
		}
	}
}

// TestFilerClient uses a filer as a program does.
func TestFilerClient(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	c.StartServer("-volume.max=20")
	c.WaitWritable()
	f := c.StartFiler()
	fc, err := filer.New(filer.Config{Address: f.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer fc.Close()
	ctx := t.Context()

	var want []string
	for i := range 25 {
		name := fmt.Sprintf("n%02d ü?#%%", i)
		want = append(want, name)
		if w, err := fc.Put(ctx, "/dir/"+name, strings.NewReader(name), filer.PutOptions{Mode: 0o600}); err != nil || w.Name != name || w.ETag == "" {
			t.Fatalf("put: %+v, %v", w, err)
		}
	}
	var got []string
	for e, err := range fc.List(ctx, "/dir", filer.ListOptions{Page: 7}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name())
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("listed %q", got)
	}
	d, err := fc.Get(ctx, "/dir/"+want[3], filer.GetOptions{Offset: 1, Length: 2})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(d); string(b) != "03" || err != nil || d.Size != 2 || d.Close() != nil {
		t.Errorf("read %q, %v", b, err)
	}
	e, err := fc.Stat(ctx, "/dir/"+want[3])
	if err != nil || e.FileSize != int64(len(want[3])) || e.Mode.Perm() != 0o600 || len(e.Chunks) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = fc.Put(ctx, "/dir/"+want[3], strings.NewReader("new"), filer.PutOptions{CreateOnly: true, Size: 3})
	var refused *client.StatusError
	if !errors.As(err, &refused) || refused.Status != http.StatusPreconditionFailed {
		t.Errorf("create in place of a file: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{})
	if _, err := fc.Put(ctx, "/dir/"+want[3], broken, filer.PutOptions{}); err == nil {
		t.Error("a content that breaks off was stored")
	}
	err = errors.Join(fc.Rename(ctx, "/dir/"+want[3], "/moved/x"), fc.Mkdir(ctx, "/empty"), fc.Delete(ctx, "/empty", false))
	if err != nil {
		t.Error(err)
	}
	if _, err := fc.Stat(ctx, "/dir/"+want[3]); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a file that was moved: %v", err)
	}
	if _, err := fc.Get(ctx, "/dir", filer.GetOptions{}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("a directory as a file: %v", err)
	}
	if err := fc.Delete(ctx, "/dir", false); !errors.As(err, &refused) || refused.Status != http.StatusConflict {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if err := fc.Delete(ctx, "/dir", true); err != nil {
		t.Error(err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// TestServerWithFiler runs all three servers in one process, and again on the same directory.
func TestServerWithFiler(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	address := testcluster.FreeAddr(t)
	_, port, _ := net.SplitHostPort(address)
	_, v := c.StartServer("-volume.max=20", "-filer=true", "-filer.port="+port)
	c.WaitWritable()
	url := "http://" + address + "/foo/hello.txt"
	up := func() error {
		return testcluster.Do(http.MethodGet, "http://"+address+"/readyz", "").Want(http.StatusOK)
	}
	testcluster.WaitFor(t, "the filer is ready", up)
	expect(t, http.StatusCreated, "*", http.MethodPut, url, hello)
	if code := v.Term(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	v.Restart()
	testcluster.WaitFor(t, "the filer is ready", up)
	testcluster.WaitFor(t, "the file can be read", func() error {
		return testcluster.Do(http.MethodGet, url, "").Want(http.StatusOK)
	})
	if files(t, v.Dir, "filer/*") == nil {
		t.Error("the filer's tree is not below -dir")
	}
}
