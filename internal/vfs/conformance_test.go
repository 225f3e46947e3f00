package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"testing"

	"weed/internal/vfs"
)

// conformance is what every FS does. Each case gets an empty directory.
var conformance = []struct {
	name string
	run  func(t *testing.T, disk vfs.FS, dir string)
}{
	{"write and read at offsets", testReadWrite},
	{"reads at the end", testReadsAtEnd},
	{"truncate cuts and grows with zeros", testTruncate},
	{"sparse file", testSparse},
	{"open flags", testOpenFlags},
	{"missing names", testMissing},
	{"closed file", testClosed},
	{"rename replaces", testRename},
	{"rename between directories", testRenameAcross},
	{"remove", testRemove},
	{"removed file stays usable", testRemovedOpen},
	{"directories", testDirectories},
	{"a file is no directory", testFileAsDirectory},
	{"lock", testLock},
	{"usage", testUsage},
	{"concurrent use", testConcurrent},
}

func TestConformanceOS(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) { c.run(t, vfs.OS, t.TempDir()) })
	}
}

func TestConformanceMem(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			disk := vfs.NewMem()
			must(t, disk.MkdirAll("/some/dir", 0o755))
			c.run(t, disk, "/some/dir")
		})
	}
}

// TestConformanceAfterCrash shows that what a crash leaves is a disk like any other.
func TestConformanceAfterCrash(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			old := vfs.NewMem()
			must(t, old.MkdirAll("dir", 0o755))
			c.run(t, old.Crash(vfs.LoseNothing, nil), "dir")
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want kind %v", err, kind)
	}
}

func create(t *testing.T, disk vfs.FS, name, text string) vfs.File {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	writeAt(t, f, text, 0)
	return f
}

func writeAt(t *testing.T, f vfs.File, text string, offset int64) {
	t.Helper()
	n, err := f.WriteAt([]byte(text), offset)
	if n != len(text) || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
}

func content(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	must(t, err)
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	must(t, err)
	return string(b)
}

func wantContent(t *testing.T, f vfs.File, want string) {
	t.Helper()
	if got := content(t, f); got != want {
		t.Fatalf("content is %.80q (%d bytes), want %.80q", got, len(got), want)
	}
}

func wantFile(t *testing.T, disk vfs.FS, name, want string) {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	wantContent(t, f, want)
	must(t, f.Close())
}

func names(t *testing.T, disk vfs.FS, dir string) string {
	t.Helper()
	entries, err := disk.ReadDir(dir)
	must(t, err)
	var list []byte
	for _, e := range entries {
		list = append(append(list, e.Name()...), ' ')
	}
	return string(bytes.TrimSpace(list))
}

func wantNames(t *testing.T, disk vfs.FS, dir, want string) {
	t.Helper()
	if got := names(t, disk, dir); got != want {
		t.Fatalf("names are %q, want %q", got, want)
	}
}

func testReadWrite(t *testing.T, disk vfs.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, disk, name, "hello")
	writeAt(t, f, "LO world", 3)
	wantContent(t, f, "helLO world")
	if f.Name() != name {
		t.Fatalf("name is %q, want %q", f.Name(), name)
	}
	must(t, f.Sync())
	must(t, f.Close())
	wantFile(t, disk, name, "helLO world")
	if _, err := f.WriteAt(nil, 100); err != nil && !errors.Is(err, fs.ErrClosed) {
		t.Fatal(err)
	}
	wantFile(t, disk, name, "helLO world")
}

func testReadsAtEnd(t *testing.T, disk vfs.FS, dir string) {
	f := create(t, disk, path.Join(dir, "f"), "0123456789")
	for _, c := range []struct {
		offset int64
		length int
		want   string
		err    error
	}{
		{0, 10, "0123456789", nil},
		{7, 3, "789", nil},
		{7, 4, "789", io.EOF},
		{10, 1, "", io.EOF},
		{99, 5, "", io.EOF},
		{99, 0, "", nil},
	} {
		b := make([]byte, c.length)
		n, err := f.ReadAt(b, c.offset)
		if string(b[:n]) != c.want || err != c.err {
			t.Errorf("ReadAt(%d bytes, %d) = %q, %v; want %q, %v", c.length, c.offset, b[:n], err, c.want, c.err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("ReadAt at a negative offset succeeds")
	}
	if _, err := f.WriteAt(make([]byte, 1), -1); err == nil {
		t.Error("WriteAt at a negative offset succeeds")
	}
}

func testTruncate(t *testing.T, disk vfs.FS, dir string) {
	f := create(t, disk, path.Join(dir, "f"), "0123456789")
	must(t, f.Truncate(4))
	wantContent(t, f, "0123")
	must(t, f.Truncate(6))
	wantContent(t, f, "0123\x00\x00")
	must(t, f.Truncate(0))
	writeAt(t, f, "x", 2)
	wantContent(t, f, "\x00\x00x")
	mustBe(t, f.Truncate(-1), syscall.EINVAL)
}

func testSparse(t *testing.T, disk vfs.FS, dir string) {
	f := create(t, disk, path.Join(dir, "f"), "head")
	const far = 1<<33 + 4093
	writeAt(t, f, "across a page", far)
	size, err := f.Size()
	must(t, err)
	if size != far+13 {
		t.Fatalf("size is %d", size)
	}
	b := make([]byte, 20)
	_, err = f.ReadAt(b, far-7)
	must(t, err)
	if string(b) != "\x00\x00\x00\x00\x00\x00\x00across a page" {
		t.Fatalf("read %q", b)
	}
	must(t, f.Truncate(far+3))
	must(t, f.Truncate(far+13))
	_, err = f.ReadAt(b[:13], far)
	must(t, err)
	if string(b[:13]) != "acr"+string(make([]byte, 10)) {
		t.Fatalf("after cut and growth: %q", b[:13])
	}
}

func testOpenFlags(t *testing.T, disk vfs.FS, dir string) {
	name := path.Join(dir, "f")
	must(t, create(t, disk, name, "text").Close())
	_, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	mustBe(t, err, fs.ErrExist)
	_, err = disk.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	mustBe(t, err, syscall.EINVAL)

	f, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	wantContent(t, f, "text")
	must(t, f.Close())

	f, err = disk.OpenFile(name, os.O_RDONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("x"), 0)
	mustBe(t, err, syscall.EBADF)
	if f.Truncate(1) == nil {
		t.Fatal("a file open for reading is truncated")
	}
	must(t, f.Close())

	f, err = disk.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	mustBe(t, err, syscall.EBADF)
	writeAt(t, f, "new", 0)
	must(t, f.Close())
	wantFile(t, disk, name, "new")
}

func testMissing(t *testing.T, disk vfs.FS, dir string) {
	gone, deep := path.Join(dir, "gone"), path.Join(dir, "gone", "f")
	_, err := disk.OpenFile(gone, os.O_RDWR, 0)
	mustBe(t, err, fs.ErrNotExist)
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) || pathErr.Path != gone {
		t.Fatalf("%v does not carry the path", err)
	}
	_, err = disk.OpenFile(deep, os.O_RDWR|os.O_CREATE, 0o644)
	mustBe(t, err, fs.ErrNotExist)
	_, err = disk.ReadDir(gone)
	mustBe(t, err, fs.ErrNotExist)
	_, err = disk.Stat(gone)
	mustBe(t, err, fs.ErrNotExist)
	_, err = disk.Stat("")
	mustBe(t, err, fs.ErrNotExist)
	_, err = disk.Usage(gone)
	mustBe(t, err, fs.ErrNotExist)
	_, err = disk.Lock(deep)
	mustBe(t, err, fs.ErrNotExist)
	mustBe(t, disk.Remove(gone), fs.ErrNotExist)
	mustBe(t, disk.SyncDir(gone), fs.ErrNotExist)
	mustBe(t, disk.Rename(gone, path.Join(dir, "f")), fs.ErrNotExist)
	create(t, disk, path.Join(dir, "f"), "")
	mustBe(t, disk.Rename(path.Join(dir, "f"), deep), fs.ErrNotExist)
}

func testClosed(t *testing.T, disk vfs.FS, dir string) {
	f := create(t, disk, path.Join(dir, "f"), "text")
	must(t, f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	mustBe(t, err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	mustBe(t, err, fs.ErrClosed)
	_, err = f.Size()
	mustBe(t, err, fs.ErrClosed)
	mustBe(t, f.Truncate(0), fs.ErrClosed)
	mustBe(t, f.Sync(), fs.ErrClosed)
	mustBe(t, f.Close(), fs.ErrClosed)
}

func testRename(t *testing.T, disk vfs.FS, dir string) {
	a, b := path.Join(dir, "a"), path.Join(dir, "b")
	create(t, disk, a, "of a")
	old := create(t, disk, b, "of b")
	must(t, disk.Rename(a, b))
	must(t, disk.SyncDir(dir))
	wantNames(t, disk, dir, "b")
	wantFile(t, disk, b, "of a")
	wantContent(t, old, "of b")
	must(t, disk.Rename(b, b))
	wantFile(t, disk, b, "of a")
	must(t, disk.MkdirAll(a, 0o755))
	mustBe(t, disk.Rename(b, a), fs.ErrExist)
}

func testRenameAcross(t *testing.T, disk vfs.FS, dir string) {
	must(t, disk.MkdirAll(path.Join(dir, "x/y"), 0o755))
	create(t, disk, path.Join(dir, "x/f"), "text")
	must(t, disk.Rename(path.Join(dir, "x/f"), path.Join(dir, "x/y/g")))
	wantNames(t, disk, path.Join(dir, "x"), "y")
	wantFile(t, disk, path.Join(dir, "x/y/g"), "text")
}

func testRemove(t *testing.T, disk vfs.FS, dir string) {
	d, f := path.Join(dir, "d"), path.Join(dir, "d", "f")
	must(t, disk.MkdirAll(d, 0o755))
	create(t, disk, f, "text")
	mustBe(t, disk.Remove(d), syscall.ENOTEMPTY)
	must(t, disk.Remove(f))
	_, err := disk.Stat(f)
	mustBe(t, err, fs.ErrNotExist)
	must(t, disk.Remove(d))
	wantNames(t, disk, dir, "")
}

func testRemovedOpen(t *testing.T, disk vfs.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, disk, name, "old")
	must(t, disk.Remove(name))
	writeAt(t, f, "er", 3)
	wantContent(t, f, "older")
	must(t, f.Sync())
	create(t, disk, name, "new")
	wantContent(t, f, "older")
	wantFile(t, disk, name, "new")
}

func testDirectories(t *testing.T, disk vfs.FS, dir string) {
	must(t, disk.MkdirAll(path.Join(dir, "b/c"), 0o755))
	must(t, disk.MkdirAll(path.Join(dir, "b/c"), 0o755))
	create(t, disk, path.Join(dir, "a"), "1234")
	create(t, disk, path.Join(dir, "c"), "")
	wantNames(t, disk, dir, "a b c")
	must(t, disk.SyncDir(dir))

	entries, err := disk.ReadDir(dir)
	must(t, err)
	if entries[0].IsDir() || !entries[1].IsDir() {
		t.Fatal("IsDir is wrong")
	}
	info, err := entries[0].Info()
	must(t, err)
	if info.Size() != 4 || info.Name() != "a" {
		t.Fatalf("info is %v", info)
	}
	info, err = disk.Stat(path.Join(dir, "b"))
	must(t, err)
	if !info.IsDir() || info.Name() != "b" {
		t.Fatalf("info is %v", info)
	}
	_, err = disk.OpenFile(path.Join(dir, "b"), os.O_RDWR, 0)
	mustBe(t, err, syscall.EISDIR)
}

func testFileAsDirectory(t *testing.T, disk vfs.FS, dir string) {
	name, below := path.Join(dir, "f"), path.Join(dir, "f", "g")
	create(t, disk, name, "")
	_, err := disk.OpenFile(below, os.O_RDWR|os.O_CREATE, 0o644)
	mustBe(t, err, syscall.ENOTDIR)
	_, err = disk.Stat(below)
	mustBe(t, err, syscall.ENOTDIR)
	_, err = disk.ReadDir(name)
	mustBe(t, err, syscall.ENOTDIR)
	mustBe(t, disk.SyncDir(name), syscall.ENOTDIR)
	mustBe(t, disk.MkdirAll(below, 0o755), syscall.ENOTDIR)
	mustBe(t, disk.Rename(name, below), syscall.ENOTDIR)
}

func testLock(t *testing.T, disk vfs.FS, dir string) {
	name := path.Join(dir, "LOCK")
	first, err := disk.Lock(name)
	must(t, err)
	_, err = disk.Lock(name)
	mustBe(t, err, vfs.ErrLocked)
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) || pathErr.Path != name {
		t.Fatalf("%v does not carry the path", err)
	}
	other, err := disk.Lock(path.Join(dir, "OTHER"))
	must(t, err)
	must(t, other.Close())
	must(t, first.Close())
	second, err := disk.Lock(name)
	must(t, err)
	mustBe(t, first.Close(), fs.ErrClosed)
	_, err = disk.Lock(name)
	mustBe(t, err, vfs.ErrLocked)
	must(t, second.Close())
	wantNames(t, disk, dir, "LOCK OTHER")
}

func testUsage(t *testing.T, disk vfs.FS, dir string) {
	u, err := disk.Usage(dir)
	must(t, err)
	if u.TotalBytes == 0 || u.FreeBytes > u.TotalBytes {
		t.Fatalf("usage is %+v", u)
	}
}

func testConcurrent(t *testing.T, disk vfs.FS, dir string) {
	const writers, rounds, width = 4, 50, 100
	f := create(t, disk, path.Join(dir, "f"), "")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			own := path.Join(dir, string(rune('a'+w)))
			for r := range rounds {
				at := int64(r*writers+w) * width
				b := bytes.Repeat([]byte{byte('a' + w)}, width)
				if _, err := f.WriteAt(b, at); err != nil {
					t.Error(err)
				}
				if _, err := f.ReadAt(b, at); err != nil {
					t.Error(err)
				}
				g, err := disk.OpenFile(own, os.O_RDWR|os.O_CREATE, 0o644)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = disk.ReadDir(dir)
				err = errors.Join(err, g.Close(), disk.Rename(own, own+"2"), disk.Remove(own+"2"))
				if r%10 == 0 {
					err = errors.Join(err, f.Sync(), disk.SyncDir(dir))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := content(t, f)
	for i := range writers * rounds {
		if want := bytes.Repeat([]byte{byte('a' + i%writers)}, width); got[i*width:(i+1)*width] != string(want) {
			t.Fatalf("block %d is not its writer's", i)
		}
	}
	wantNames(t, disk, dir, "f")
}
