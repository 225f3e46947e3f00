package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"weed/internal/vfs"
)

// everyKind does one operation of each mutating kind and returns their errors.
func everyKind(disk vfs.FS) []error {
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	note(disk.MkdirAll("d", 0o755))
	f, err := disk.OpenFile("d/f", os.O_RDWR|os.O_CREATE, 0o644)
	note(err)
	if err != nil {
		return errs
	}
	_, err = f.WriteAt([]byte("text"), 0)
	note(err)
	note(f.Truncate(3))
	note(f.Sync())
	note(f.Close())
	note(disk.Rename("d/f", "d/g"))
	note(disk.Remove("d/g"))
	note(disk.SyncDir("d"))
	return errs
}

func TestFailAtEveryOperation(t *testing.T) {
	dry := vfs.NewMem()
	must(t, errors.Join(everyKind(dry)...))
	if dry.OpCount() != 8 {
		t.Fatalf("%d operations, want 8", dry.OpCount())
	}
	for n := 1; n <= dry.OpCount(); n++ {
		disk := vfs.NewMem()
		disk.FailAt(n, syscall.EIO)
		var failed int
		for _, err := range everyKind(disk) {
			if errors.Is(err, syscall.EIO) {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("FailAt(%d) fails %d operations, want 1", n, failed)
		}

		disk = vfs.NewMem()
		disk.FailFrom(n, syscall.EIO)
		err := errors.Join(everyKind(disk)...)
		mustBe(t, err, syscall.EIO)
		mustBe(t, disk.MkdirAll("e", 0o755), syscall.EIO)
		disk.SetFault(nil)
		must(t, disk.MkdirAll("e", 0o755))
	}
}

func TestFailedOperationHasNoEffect(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "text")
	must(t, disk.MkdirAll("d", 0o755))
	disk.FailFrom(1, syscall.EIO)
	_, err := f.WriteAt([]byte("xxxxxx"), 0)
	mustBe(t, err, syscall.EIO)
	mustBe(t, f.Truncate(0), syscall.EIO)
	mustBe(t, disk.Rename("f", "g"), syscall.EIO)
	mustBe(t, disk.Remove("f"), syscall.EIO)
	mustBe(t, disk.Remove("d"), syscall.EIO)
	_, err = disk.OpenFile("new", os.O_RDWR|os.O_CREATE, 0o644)
	mustBe(t, err, syscall.EIO)
	_, err = disk.OpenFile("f", os.O_RDWR|os.O_TRUNC, 0o644)
	mustBe(t, err, syscall.EIO)
	_, err = disk.Lock("new")
	mustBe(t, err, syscall.EIO)
	wantNames(t, disk, "/", "d f")
	wantContent(t, f, "text")
}

func TestFaultSeesTheOperation(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "dir.f", "text")
	var seen []string
	disk.SetFault(func(op vfs.Op) error {
		seen = append(seen, op.String())
		return nil
	})
	_, err := f.WriteAt([]byte("abc"), 7)
	must(t, err)
	_, err = f.ReadAt(make([]byte, 2), 1)
	must(t, err)
	must(t, f.Truncate(5))
	must(t, disk.Rename("dir.f", "/g"))
	want := "3: write /dir.f [7 +3]; 0: read /dir.f [1 +2]; 4: truncate /dir.f [5 +0]; 5: rename /dir.f [0 +0]"
	if got := strings.Join(seen, "; "); got != want {
		t.Fatalf("seen %s\nwant %s", got, want)
	}
}

func TestFaultFilter(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d", 0o755))
	dat, idx := create(t, disk, "d/1.dat", "text"), create(t, disk, "d/1.idx", "text")
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("*.dat", vfs.OpRead, vfs.OpSync) || op.Is("/d/*.idx", vfs.OpWrite) {
			return syscall.EIO
		}
		return nil
	})
	b := make([]byte, 4)
	_, err := dat.ReadAt(b, 0)
	mustBe(t, err, syscall.EIO)
	mustBe(t, dat.Sync(), syscall.EIO)
	writeAt(t, dat, "fine", 0)
	_, err = idx.ReadAt(b, 0)
	must(t, err)
	must(t, idx.Sync())
	_, err = idx.WriteAt(b, 0)
	mustBe(t, err, syscall.EIO)
}

func TestPartialWrite(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "")
	disk.FailAt(disk.OpCount()+1, &vfs.PartialError{Written: 3, Err: syscall.ENOSPC})
	n, err := f.WriteAt([]byte("abcdef"), 0)
	if n != 3 {
		t.Fatalf("%d bytes written, want 3", n)
	}
	mustBe(t, err, syscall.ENOSPC)
	wantContent(t, f, "abc")
}

func TestCapacity(t *testing.T) {
	disk := vfs.NewMem()
	disk.SetCapacity(10)
	free := func(want uint64) {
		t.Helper()
		u, err := disk.Usage("/")
		must(t, err)
		if (u != vfs.Usage{TotalBytes: 10, FreeBytes: want}) {
			t.Fatalf("usage is %+v, want %d free", u, want)
		}
	}
	f, g := create(t, disk, "f", "012345"), create(t, disk, "g", "")
	n, err := g.WriteAt([]byte("abcdef"), 0)
	if n != 4 {
		t.Fatalf("%d bytes written, want 4", n)
	}
	mustBe(t, err, syscall.ENOSPC)
	free(0)
	writeAt(t, f, "overwrite"[:6], 0) // needs no room
	mustBe(t, f.Truncate(7), syscall.ENOSPC)
	must(t, f.Truncate(2))
	free(4)
	_, err = f.WriteAt([]byte("x"), 100)
	mustBe(t, err, syscall.ENOSPC)
	wantContent(t, f, "ov")

	must(t, disk.Remove("g"))
	free(4) // still open
	must(t, g.Close())
	free(8)
	create(t, disk, "h", "1234")
	must(t, disk.Rename("h", "f"))
	must(t, f.Close())
	disk = disk.Crash(vfs.LoseNothing, nil)
	free(6)
}

func TestCorruptStays(t *testing.T) {
	for _, synced := range []bool{false, true} {
		disk := vfs.NewMem()
		f := create(t, disk, "f", "text")
		if synced {
			must(t, f.Sync())
		}
		must(t, disk.SyncDir("/"))
		must(t, disk.Corrupt("f", 1, 0x01))
		wantContent(t, f, "tdxt")
		if synced {
			wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "f", "tdxt")
		}
		must(t, f.Sync())
		wantFile(t, disk.Crash(vfs.LoseUnsynced, nil), "f", "tdxt")
	}
	disk := vfs.NewMem()
	create(t, disk, "f", "text")
	mustBe(t, disk.Corrupt("f", 4, 1), syscall.EINVAL)
	mustBe(t, disk.Corrupt("g", 0, 1), fs.ErrNotExist)
}

// TestFailedSync pins the worst that Linux does: the next Sync is fine and saves nothing of the old.
func TestFailedSync(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "AAAA")
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	writeAt(t, f, "bbbb", 4)
	disk.FailAt(disk.OpCount()+1, syscall.EIO)
	mustBe(t, f.Sync(), syscall.EIO)
	writeAt(t, f, "CC", 6)
	writeAt(t, f, "DD", 8)
	must(t, f.Sync())
	writeAt(t, f, "ee", 10)
	wantContent(t, f, "AAAAbbCCDDee")

	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "f", "AAAA\x00\x00CCDD")
	wantFile(t, disk.Image(vfs.LoseNothing, nil), "f", "AAAAbbCCDDee")
	seen := map[string]bool{}
	for seed := range uint64(200) {
		after := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(seed, 0)))
		g, err := after.OpenFile("f", os.O_RDONLY, 0)
		must(t, err)
		text := content(t, g)
		if text[:4] != "AAAA" || text[6:10] != "CCDD" {
			t.Fatalf("seed %d: synced bytes are lost: %q", seed, text)
		}
		seen[text[4:6]] = true
	}
	if !seen["bb"] || !seen["\x00\x00"] {
		t.Fatalf("bytes of the failed Sync are always kept or always lost: %v", seen)
	}
}

// TestFaultMayBlockAndCrash holds a Sync up while others go on, and pulls the plug within it.
func TestFaultMayBlockAndCrash(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "text")
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	arrived, goOn := make(chan struct{}), make(chan struct{})
	var after *vfs.Mem
	disk.SetFault(func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			close(arrived)
			<-goOn
			after = disk.Crash(vfs.LoseUnsynced, nil)
		}
		return nil
	})
	result := make(chan error)
	go func() { result <- f.Sync() }()
	<-arrived
	writeAt(t, f, "more", 4)
	wantContent(t, f, "textmore")
	close(goOn)
	mustBe(t, <-result, fs.ErrClosed)
	wantFile(t, after, "f", "text")
}

func BenchmarkMemAppendSync(b *testing.B) {
	disk := vfs.NewMem()
	f, err := disk.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	block := make([]byte, 256)
	for i := 0; b.Loop(); i++ {
		if _, err := f.WriteAt(block, int64(i)*256); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleMem_FailAt() {
	disk := vfs.NewMem()
	disk.FailAt(2, syscall.EIO)
	f, err := disk.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o644)
	fmt.Println(err)
	_, err = f.WriteAt([]byte("x"), 0)
	fmt.Println(err)
	// Output:
	// <nil>
	// write a: input/output error
}
