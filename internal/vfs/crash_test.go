package vfs_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"weed/internal/vfs"
)

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func TestCrashEndsTheOldLife(t *testing.T) {
	old := vfs.NewMem()
	f := create(t, old, "f", "text")
	lock, err := old.Lock("LOCK")
	must(t, err)
	disk := old.Crash(vfs.LoseNothing, nil)

	_, err = f.ReadAt(make([]byte, 1), 0)
	mustBe(t, err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	mustBe(t, err, fs.ErrClosed)
	mustBe(t, f.Sync(), fs.ErrClosed)
	mustBe(t, f.Truncate(0), fs.ErrClosed)
	mustBe(t, f.Close(), fs.ErrClosed)
	mustBe(t, lock.Close(), fs.ErrClosed)
	_, err = old.OpenFile("f", os.O_RDWR, 0)
	mustBe(t, err, fs.ErrClosed)
	mustBe(t, old.MkdirAll("d", 0o755), fs.ErrClosed)
	_, err = old.Lock("LOCK2")
	mustBe(t, err, fs.ErrClosed)

	if disk.OpCount() != 0 {
		t.Fatalf("the new life starts at operation %d", disk.OpCount())
	}
	wantFile(t, disk, "f", "text")
	lock, err = disk.Lock("LOCK")
	must(t, err)
	must(t, lock.Close())
}

func TestCrashBytes(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "0123456789")
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	writeAt(t, f, "xx", 3)
	must(t, f.Truncate(6))
	writeAt(t, f, "end", 6)
	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "f", "0123456789")
	wantFile(t, disk.Image(vfs.LoseNothing, nil), "f", "012xx5end")
	must(t, f.Sync())
	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "f", "012xx5end")
}

func TestCrashNames(t *testing.T) {
	disk := vfs.NewMem()
	old := create(t, disk, "old", "old")
	gone := create(t, disk, "gone", "gone")
	must(t, errors.Join(old.Sync(), gone.Sync(), disk.SyncDir("/")))
	fresh := create(t, disk, "fresh", "fresh")
	must(t, fresh.Sync())
	must(t, disk.Rename("fresh", "old"))
	must(t, disk.Remove("gone"))

	lost := disk.Image(vfs.LoseUnsynced, nil)
	wantNames(t, lost, "/", "gone old")
	wantFile(t, lost, "old", "old")
	kept := disk.Image(vfs.LoseNothing, nil)
	wantNames(t, kept, "/", "old")
	wantFile(t, kept, "old", "fresh")

	seen := map[string]bool{}
	for seed := range uint64(100) {
		seen[names(t, disk.Image(vfs.LoseSome, rng(seed)), "/")] = true
	}
	for _, want := range []string{"gone old", "fresh gone old", "old"} {
		if !seen[want] {
			t.Errorf("no crash leaves %q: %v", want, seen)
		}
		delete(seen, want)
	}
	if len(seen) > 0 {
		t.Errorf("crashes leave what never was: %v", seen)
	}
	must(t, disk.SyncDir("/"))
	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "old", "fresh")
}

func TestCrashDirectory(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d/e", 0o755))
	f := create(t, disk, "d/e/f", "text")
	must(t, errors.Join(f.Sync(), disk.SyncDir("d/e"), disk.SyncDir("d")))
	wantNames(t, disk.Image(vfs.LoseUnsynced, nil), "/", "")
	must(t, disk.SyncDir("/"))
	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "d/e/f", "text")
}

// TestCrashRenameAcross parts a rename between directories: the file has one name, both, or none.
func TestCrashRenameAcross(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d", 0o755))
	f := create(t, disk, "f", "text")
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	must(t, disk.Rename("f", "d/f"))
	seen := map[string]bool{}
	for seed := range uint64(100) {
		after := disk.Image(vfs.LoseSome, rng(seed))
		seen[names(t, after, "/")+"|"+names(t, after, "d")] = true
		u, err := after.Usage("/")
		must(t, err)
		if used := u.TotalBytes - u.FreeBytes; used != 0 && used != 4 {
			t.Fatalf("%d bytes in use", used)
		}
	}
	if len(seen) != 4 {
		t.Fatalf("seen %v, want four outcomes", seen)
	}
}

// TestCrashKeepsWhatIsSynced writes and syncs at random and checks every byte after every kind of crash:
// it is one that was there at the last sync or one written since.
func TestCrashKeepsWhatIsSynced(t *testing.T) {
	const fileSize = 20_000
	for seed := range uint64(30) {
		r := rng(seed)
		disk := vfs.NewMem()
		f := create(t, disk, "f", "")
		must(t, disk.SyncDir("/"))
		var allowed [fileSize]map[byte]bool // what each byte may be after a crash; nil: only what it is
		var now [fileSize]byte
		minSize := int64(0)
		for range 40 {
			if r.IntN(4) == 0 {
				must(t, f.Sync())
				clear(allowed[:])
				minSize, _ = f.Size()
				continue
			}
			b := make([]byte, 1+r.IntN(6000))
			at := r.IntN(fileSize - len(b) + 1)
			for i := range b {
				b[i] = byte(1 + r.IntN(255))
				if allowed[at+i] == nil {
					allowed[at+i] = map[byte]bool{now[at+i]: true}
				}
				allowed[at+i][b[i]] = true
				now[at+i] = b[i]
			}
			writeAt(t, f, string(b), int64(at))
		}
		maxSize, _ := f.Size()
		check := func(disk *vfs.Mem) {
			g, err := disk.OpenFile("f", os.O_RDONLY, 0)
			must(t, err)
			text := content(t, g)
			if n := int64(len(text)); n < minSize || n > maxSize {
				t.Fatalf("seed %d: size %d, want %d to %d", seed, n, minSize, maxSize)
			}
			for i := range text {
				if c := text[i]; !(allowed[i] == nil && c == now[i] || allowed[i][c]) {
					t.Fatalf("seed %d: byte %d is %d", seed, i, c)
				}
			}
		}
		for i := range uint64(8) {
			check(disk.Image(vfs.LoseSome, rng(seed<<8|i)))
		}
		check(disk.Image(vfs.LoseUnsynced, nil))
		wantFile(t, disk.Crash(vfs.LoseNothing, nil), "f", string(now[:maxSize]))
	}
}

// TestCrashVariety wants every kind of damage to one unsynced append to turn up.
func TestCrashVariety(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", "head")
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	tail := strings.Repeat("t", 10_000)
	writeAt(t, f, tail, 4)
	seen := map[string]bool{}
	for seed := range uint64(400) {
		g, err := disk.Image(vfs.LoseSome, rng(seed)).OpenFile("f", os.O_RDONLY, 0)
		must(t, err)
		text := content(t, g)[4:]
		zeros := strings.Count(text, "\x00")
		switch {
		case text == "":
			seen["dropped"] = true
		case text == tail:
			seen["kept"] = true
		case zeros == len(tail):
			seen["zeros"] = true
		case len(text) < len(tail) && zeros == 0:
			seen["short"] = true
		case len(text) < len(tail):
			seen["short with holes"] = true
		case strings.HasSuffix(text, "t"):
			seen["holes"] = true
		default:
			seen["zero tail"] = true
		}
	}
	if len(seen) != 7 {
		t.Fatalf("seen only %v", seen)
	}
}

func TestCrashIsRepeatable(t *testing.T) {
	build := func(seed uint64) string {
		disk := vfs.NewMem()
		for _, name := range []string{"a", "b", "c"} {
			f := create(t, disk, name, strings.Repeat(name, 5000))
			must(t, f.Sync())
			writeAt(t, f, strings.Repeat("x", 9000), 3000)
		}
		disk = disk.Crash(vfs.LoseSome, rng(seed))
		var all strings.Builder
		for name := range strings.FieldsSeq(names(t, disk, "/")) {
			f, err := disk.OpenFile(name, os.O_RDONLY, 0)
			must(t, err)
			all.WriteString(name + content(t, f))
		}
		return all.String()
	}
	different := false
	for seed := range uint64(20) {
		if one, again := build(seed), build(seed); one != again {
			t.Fatalf("seed %d gives two disks", seed)
		}
		different = different || build(seed) != build(seed+1)
	}
	if !different {
		t.Fatal("all seeds give one disk")
	}
}

// TestImageIsApart writes to a disk and to an image of it, which share pages.
func TestImageIsApart(t *testing.T) {
	disk := vfs.NewMem()
	f := create(t, disk, "f", strings.Repeat("o", 9000))
	must(t, errors.Join(f.Sync(), disk.SyncDir("/")))
	image := disk.Image(vfs.LoseUnsynced, nil)
	g, err := image.OpenFile("f", os.O_RDWR, 0)
	must(t, err)
	writeAt(t, f, "disk", 0)
	writeAt(t, g, "image", 4500)
	must(t, g.Truncate(5000))
	wantContent(t, f, "disk"+strings.Repeat("o", 8996))
	wantContent(t, g, strings.Repeat("o", 4500)+"image"+strings.Repeat("o", 495))
	wantFile(t, image.Image(vfs.LoseUnsynced, nil), "f", strings.Repeat("o", 9000))
	wantFile(t, disk.Image(vfs.LoseUnsynced, nil), "f", strings.Repeat("o", 9000))
}
