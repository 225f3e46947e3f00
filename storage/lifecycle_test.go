package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestFailDelete fails each operation of the deletion of a volume. What is left is all of it or none; when
// it was answered with success, none.
func TestFailDelete(t *testing.T) {
	for n := 1; ; n++ {
		disk := vfs.NewMem()
		s, v := createTestVolume(t, disk, Config{})
		m := newModel()
		for key := range blob.Key(3) {
			needle := &Needle{Key: key, Cookie: testCookie, Data: payload(uint64(key), 700)}
			if err := v.Put(needle); err != nil {
				t.Fatal(err)
			}
			m.keys[key] = keyState{acked: needle}
		}
		before := disk.OpCount()
		disk.FailAt(before+n, syscall.EIO)
		err := s.Delete(7, "")
		reached := disk.OpCount() >= before+n
		disk.SetFault(nil)
		for what, image := range images(disk, uint64(n), 4) {
			s := openTestStore(t, image, Config{})
			v, there := s.Volume(7)
			if there && err == nil {
				t.Errorf("operation %d: deleted, but a crash losing %s brings it back", n, what)
			}
			if there {
				if _, err := m.check(v); err != nil {
					t.Errorf("operation %d, losing %s: half of the volume is left: %v", n, what, err)
				}
				if cause := v.Status().ReadOnly; cause != 0 {
					t.Errorf("operation %d, losing %s: %v", n, what, cause)
				}
			} else if v, err := s.Create(7, "", blob.Placement{}, blob.TTL{}); err != nil || len(liveKeys(v)) > 0 {
				t.Errorf("operation %d, losing %s: can't be made anew: %v", n, what, err)
			}
			closeStore(t, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if !reached {
			if err != nil || n < 5 {
				t.Fatalf("%d operations, %v", n, err)
			}
			return
		}
	}
}

// TestFailCreate fails each operation of a creation: it can be tried again at once.
func TestFailCreate(t *testing.T) {
	for n := 1; ; n++ {
		disk := vfs.NewMem()
		s := openTestStore(t, disk, Config{})
		before := disk.OpCount()
		disk.FailAt(before+n, syscall.ENOSPC)
		_, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
		if disk.OpCount() < before+n {
			if err != nil || n < 8 {
				t.Fatalf("%d operations, %v", n, err)
			}
			disk.SetFault(nil)
			closeStore(t, s)
			return
		}
		disk.SetFault(nil)
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("operation %d: %v", n, err)
		}
		entries, err := disk.ReadDir(testDir)
		if err != nil || len(entries) != 1 {
			t.Errorf("operation %d: left %v, %v", n, entries, err)
		}
		v, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
		if err != nil {
			t.Fatalf("operation %d: second try: %v", n, err)
		}
		mustPut(t, v, 1, []byte("x"))
		closeStore(t, s)
	}
}

// TestNewDirectoryIsDurable loses everything that was not synced right after the first put into a store
// whose directories did not exist.
func TestNewDirectoryIsDurable(t *testing.T) {
	disk := vfs.NewMem()
	dirs := []Directory{{Path: "a/b/c", MaxVolumes: 1}}
	s, err := OpenStore(disk, dirs, Config{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Create(7, "x", blob.Placement{}, blob.TTL{})
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, v, 1, []byte("here"))
	disk = disk.Crash(vfs.LoseUnsynced, nil)
	if s, err = OpenStore(disk, dirs, Config{}); err != nil {
		t.Fatal(err)
	}
	if v, ok := s.Volume(7); !ok || v.Collection() != "x" {
		t.Fatal("the volume is not there")
	} else {
		wantData(t, v, 1, []byte("here"))
	}
	closeStore(t, s)
}

// TestTwice opens directories that hold a volume twice. The first directory wins, and the other files are
// not touched.
func TestTwice(t *testing.T) {
	disk := vfs.NewMem()
	dirs := []Directory{{Path: "/one", MaxVolumes: 3}, {Path: "/two", MaxVolumes: 3}}
	for _, dir := range []string{"/two", "/one"} {
		s, err := OpenStore(disk, []Directory{{Path: dir, MaxVolumes: 3}}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
		if err != nil {
			t.Fatal(err)
		}
		mustPut(t, v, 1, []byte(dir))
		closeStore(t, s)
	}
	writeTestFile(t, disk, "/two/7.dat", append(readTestFile(t, disk, "/two/7.dat"), 0)) // opening would cut that
	writeTestFile(t, disk, "/one/z_7.dat", readTestFile(t, disk, "/one/7.dat"))
	for range 20 {
		before := readTestFile(t, disk, "/two/7.dat")
		s, err := OpenStore(disk, dirs, Config{})
		if err != nil {
			t.Fatal(err)
		}
		v, ok := s.Volume(7)
		if !ok || v.Collection() != "" || s.Volumes()[0].Directory != 0 {
			t.Fatalf("%v %+v", ok, s.Volumes())
		}
		wantData(t, v, 1, []byte("/one"))
		closeStore(t, s)
		if !slices.Equal(before, readTestFile(t, disk, "/two/7.dat")) {
			t.Fatal("the other volume was changed")
		}
	}
}

// TestLockedDirectory: one store per directory, until it is closed.
func TestLockedDirectory(t *testing.T) {
	disk := vfs.NewMem()
	s := openTestStore(t, disk, Config{})
	if _, err := OpenStore(disk, []Directory{{Path: "/free"}, {Path: testDir}}, Config{}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second store: %v", err)
	}
	if _, err := OpenStore(disk, []Directory{{Path: "/free"}, {Path: "/free"}}, Config{}); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("the same directory twice: %v", err)
	}
	closeStore(t, s)
	s, err := OpenStore(disk, []Directory{{Path: "/free"}, {Path: testDir}}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
}

// readOnlyDisk refuses to open files for writing, as a file system mounted read-only does.
type readOnlyDisk struct{ vfs.FS }

func (d readOnlyDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
	}
	return d.FS.OpenFile(name, flag, perm)
}

// TestFilesThatCanOnlyBeRead opens a killed volume on a disk that can't be written: a torn tail is not shown.
func TestFilesThatCanOnlyBeRead(t *testing.T) {
	killed, _, live := standardVolume(t)
	killed.dat = append(killed.dat, payload(1, 100)...)
	killed.idx = killed.idx[:len(killed.idx)-16]
	disk := killed.disk(t)
	s, v := openTestVolume(t, readOnlyDisk{disk}, Config{})
	if got := v.Status().ReadOnly; got != CauseFiles {
		t.Errorf("read-only %q", got)
	}
	for key, data := range live {
		wantData(t, v, key, data)
	}
	if err := v.Put(&Needle{Key: 9}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("put: %v", err)
	}
	if _, err := v.Delete(1, testCookie); !errors.Is(err, ErrReadOnly) {
		t.Errorf("delete: %v", err)
	}
	closeStore(t, s)
	if after := readVolumeFiles(t, disk); len(after.dat) != len(killed.dat) || len(after.idx) != len(killed.idx) {
		t.Error("the files were changed")
	}
}

// handles counts open files.
type handles struct {
	vfs.FS
	mu   sync.Mutex // guards open
	open map[*countedFile]bool
}

type countedFile struct {
	vfs.File
	of *handles
}

func (h *handles) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	c := &countedFile{f, h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[c] = true
	return c, nil
}

func (c *countedFile) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	delete(c.of.open, c)
	return c.File.Close()
}

// TestNoFileStaysOpen fails operations, reads too, while stores open and close.
func TestNoFileStaysOpen(t *testing.T) {
	killed, _, _ := standardVolume(t)
	killed.dat = append(killed.dat, 1, 2, 3)
	for n := range 60 {
		disk := killed.disk(t)
		counted := &handles{FS: disk, open: map[*countedFile]bool{}}
		rng := rand.New(rand.NewPCG(uint64(n), 0))
		var mu sync.Mutex // guards at and rng
		at := 0
		disk.SetFault(func(vfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if at++; at == n || n > 40 && rng.IntN(4) == 0 {
				return syscall.EIO
			}
			return nil
		})
		s, err := OpenStore(counted, []Directory{{Path: testDir, MaxVolumes: 2}}, Config{})
		if err == nil {
			_, _ = s.Create(8, "", blob.Placement{}, blob.TTL{}) // may fail
			_ = s.Close()                                        // may fail
		}
		for c := range counted.open {
			t.Errorf("fault %d: %s stays open", n, c.Name())
		}
		disk.SetFault(nil)
		closeStore(t, openTestStore(t, disk, Config{})) // the lock is free
	}
}

// TestSyncOnceFailed: after a failed sync no later one is believed, under no policy.
func TestSyncOnceFailed(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNever} {
		t.Run(policy.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			s, v := createTestVolume(t, disk, Config{Sync: policy})
			mustPut(t, v, 1, []byte("a"))
			failed := false
			disk.SetFault(func(op vfs.Op) error {
				if op.Is("*.dat", vfs.OpSync) && !failed {
					failed = true
					return syscall.EIO
				}
				return nil
			})
			if err := v.PutDurable(&Needle{Key: 2, Cookie: testCookie, Data: []byte("b")}); !errors.Is(err, syscall.EIO) {
				t.Fatalf("put: %v", err)
			}
			if err := v.Sync(); err == nil {
				t.Error("a later sync succeeds")
			}
			if err := v.PutDurable(&Needle{Key: 3, Cookie: testCookie}); !errors.Is(err, ErrReadOnly) {
				t.Errorf("next put: %v", err)
			}
			wantData(t, v, 2, nil)
			if err := s.Close(); err == nil {
				t.Error("closes as if all were well")
			}
			s, v = openTestVolume(t, disk, Config{})
			if v.meta.Clean != nil {
				t.Error("the shutdown was marked as clean")
			}
			wantData(t, v, 1, []byte("a"))
			wantData(t, v, 2, nil)
			closeStore(t, s)
		})
	}
}

// TestCleanMarkIsTrue kills, reopens and closes under each policy: after the clean shutdown a power cut takes
// nothing, though nothing was synced before.
func TestCleanMarkIsTrue(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNever} {
		t.Run(policy.String(), func(t *testing.T) {
			disk := vfs.NewMem()
			_, v := createTestVolume(t, disk, Config{Sync: policy})
			for key := range blob.Key(100) {
				mustPut(t, v, key, payload(uint64(key), 100))
			}
			waitIdle(v)
			disk = withoutLocks(t, disk) // killed
			s, _ := openTestVolume(t, disk, Config{Sync: policy})
			closeStore(t, s)
			for seed := range uint64(20) {
				image := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(seed, 0)))
				s, v := openTestVolume(t, image, Config{})
				for key := range blob.Key(100) {
					wantData(t, v, key, payload(uint64(key), 100))
				}
				if v.Status().ReadOnly != 0 {
					t.Errorf("seed %d: %v", seed, v.Status().ReadOnly)
				}
				closeStore(t, s)
			}
		})
	}
}

// withoutLocks is the disk as a killed process leaves it: unsynced bytes are still unsynced.
func withoutLocks(t *testing.T, disk *vfs.Mem) *vfs.Mem {
	t.Helper()
	after := vfs.NewMem()
	for _, ext := range []string{".meta", ".idx", ".dat"} {
		content := readTestFile(t, disk, testBase+ext)
		if ext == ".meta" {
			writeTestFile(t, after, testBase+ext, content)
			continue
		}
		f, err := after.OpenFile(testBase+ext, 0x42, 0o644) // O_RDWR|O_CREATE
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Close(), after.SyncDir(testDir)); err != nil {
			t.Fatal(err)
		}
	}
	return after
}

// TestDeleteAgainstSetReadOnly: an order that comes too late does not bring a file back.
func TestDeleteAgainstSetReadOnly(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	if err := s.Delete(7, "other"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("delete of another collection's: %v", err)
	}
	if err := s.Delete(7, ""); err != nil {
		t.Fatal(err)
	}
	if err := v.SetReadOnly(CauseOperator, true); !errors.Is(err, ErrClosed) {
		t.Errorf("set read-only: %v", err)
	}
	entries, err := disk.ReadDir(testDir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", fmt.Sprint(entries), err)
	}
	closeStore(t, s)
}

// TestOperatorsMark outlives a restart.
func TestOperatorsMark(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, []byte("x"))
	for _, on := range []bool{true, false} {
		if err := v.SetReadOnly(CauseOperator, on); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		s, v = openTestVolume(t, disk, Config{})
		if got := v.Status().ReadOnly == CauseOperator; got != on {
			t.Errorf("marked: %v, want %v", got, on)
		}
		err := v.Put(&Needle{Key: 2, Cookie: testCookie})
		_, delErr := v.Delete(1, testCookie)
		if on != errors.Is(err, ErrReadOnly) || on != errors.Is(delErr, ErrReadOnly) {
			t.Errorf("marked %v: put %v, delete %v", on, err, delErr)
		}
	}
	closeStore(t, s)
}
