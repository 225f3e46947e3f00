package bolt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/vfs"
)

const (
	crashWriters = 3
	crashSteps   = 14
	crashLog     = 300 // bytes of a log: it turns every few changes
)

// history is what writers know: of each writer's file the number of its last step that was answered with success.
// Step k puts "vk" there, every third one removes the file, all add a drop, and those that put use a fid of a claim.
type history struct {
	mu    sync.Mutex
	acked [crashWriters]int
	made  [crashWriters]bool // the claim
}

func (h *history) copy() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &history{acked: h.acked, made: h.made}
}

func crashPath(w int) store.Path { return store.Path(fmt.Sprintf("/w%d", w)) }
func crashClaim(w int) string    { return fmt.Sprintf("c%d", w) }
func removes(step int) bool      { return step%3 == 0 }

// write is a writer's life: each step is tried until it succeeds, at most so many times.
func (h *history) write(s *Store, w, tries int) {
	ctx := context.Background()
	claim := store.Claim{ID: crashClaim(w), FID: fmt.Sprintf("%d,01", w+1), Count: crashSteps + 1}
	made := attempt(tries, func() error {
		list, err := s.Claims(ctx)
		for _, c := range list {
			if c.ID == claim.ID { // an attempt that failed has come about
				return nil
			}
		}
		if err != nil {
			return err
		}
		return s.AddClaim(ctx, claim)
	})
	if !made {
		return
	}
	h.mu.Lock()
	h.made[w] = true
	h.mu.Unlock()
	for k := 1; k <= crashSteps; k++ {
		done := attempt(tries, func() error {
			found, err := s.Find(ctx, crashPath(w))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			e := store.Effects{Drops: []string{fmt.Sprintf("d%d.%d", w, k)}}
			if removes(k) {
				return s.Remove(ctx, crashPath(w), found.Version, e)
			}
			e.Uses = []store.Use{{Claim: claim.ID, Index: k}}
			_, err = s.Put(ctx, crashPath(w), found.Version, store.Record{Value: fmt.Appendf(nil, "v%d", k)}, e)
			return err
		})
		if !done {
			return
		}
		h.mu.Lock()
		h.acked[w] = k
		h.mu.Unlock()
	}
}

func attempt(tries int, do func() error) bool {
	for range tries {
		if do() == nil {
			return true
		}
	}
	return false
}

func (h *history) run(s *Store, tries int) {
	var group sync.WaitGroup
	for w := range crashWriters {
		group.Go(func() { h.write(s, w, tries) })
	}
	group.Wait()
}

// check opens what a crash has left: of each writer all steps up to the last one that was answered are there, whole,
// and at most one more.
func (h *history) check(t *testing.T, dir string, disk vfs.FS, what string) {
	t.Helper()
	ctx := context.Background()
	s, err := openWith(dir, storetest.Options(), config{disk: disk, logBytes: crashLog, noSync: true})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer s.Close()
	list, err := s.Claims(ctx)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	claimed := map[string]bool{}
	for _, c := range list {
		claimed[c.ID] = true
	}
	want := map[string]int{}
	for w := range crashWriters {
		step := h.stepOf(s, w)
		if step < 0 || h.made[w] && !claimed[crashClaim(w)] {
			t.Fatalf("%s: writer %d: step %d was answered, and is not there as it was", what, w, h.acked[w])
		}
		for k := range crashSteps + 1 {
			if k > 0 && k <= step {
				want[fmt.Sprintf("d%d.%d", w, k)] = 1
			}
			if used := k > 0 && k <= step && !removes(k); !used && claimed[crashClaim(w)] {
				want[fidAt(store.Claim{FID: fmt.Sprintf("%d,01", w+1)}, k)] = 1
			}
		}
		if err := s.ReleaseClaim(ctx, crashClaim(w), crashSteps+1); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if got := storetest.Dropped(t, s); !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: drops are %v, want %v", what, got, want)
	}
}

// stepOf returns the step that a writer's file is at, -1 if that is none that may be.
func (h *history) stepOf(s *Store, w int) int {
	found, err := s.Find(context.Background(), crashPath(w))
	for k := h.acked[w]; k <= h.acked[w]+1; k++ {
		gone := k == 0 || removes(k)
		if gone && errors.Is(err, store.ErrNotFound) || !gone && err == nil && string(found.Value) == fmt.Sprintf("v%d", k) {
			return k
		}
	}
	return -1
}

// copyFile puts a copy of the store's file, as it is at this moment, into a new directory.
func copyFile(t *testing.T, s *Store, disk *vfs.Mem, dir string) string {
	t.Helper()
	to := t.TempDir()
	f, err := os.Create(filepath.Join(to, fileName))
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) error { _, err := tx.WriteTo(f); return err })
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = disk.MkdirAll(to, 0o755)
	}
	for i := range logs { // the logs move along
		name := fmt.Sprintf("filer.log.%d", i)
		if err == nil {
			if err = disk.Rename(filepath.Join(dir, name), filepath.Join(to, name)); errors.Is(err, os.ErrNotExist) {
				err = nil
			}
		}
	}
	if err != nil {
		t.Error(err)
	}
	return to
}

// TestCrashAtEveryOperation pulls the plug before each operation on the logs. What was answered with success is there,
// and what was in flight is there whole, with its drops and claims, or not at all.
func TestCrashAtEveryOperation(t *testing.T) {
	type moment struct {
		what, dir string
		known     *history
		disk      *vfs.Mem
	}
	dir, disk, h := t.TempDir(), vfs.NewMem(), &history{}
	var s *Store
	var moments []moment
	hook := func(op vfs.Op) error {
		if s == nil || !op.Kind.Mutates() {
			return nil
		}
		known := h.copy() // before the images: what is answered meanwhile is in them anyway
		for draw, loss := range []vfs.Loss{vfs.LoseNothing, vfs.LoseUnsynced, vfs.LoseSome, vfs.LoseSome} {
			image := disk.Image(loss, rand.New(rand.NewPCG(uint64(op.Index), uint64(draw))))
			moments = append(moments, moment{fmt.Sprintf("before %v, draw %d", op, draw), copyFile(t, s, image, dir), known, image})
		}
		return nil
	}
	var err error
	if s, err = openWith(dir, storetest.Options(), config{disk: disk, logBytes: crashLog, noSync: true}); err != nil {
		t.Fatal(err)
	}
	disk.SetFault(hook)
	h.run(s, 1)
	disk.SetFault(nil)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, m := range moments {
		m.known.check(t, m.dir, m.disk, m.what)
	}
	h.check(t, dir, disk, "after the end")
	if h.acked != [crashWriters]int{crashSteps, crashSteps, crashSteps} {
		t.Errorf("steps %v", h.acked)
	}
}

// TestFailEveryOperation fails each operation on the logs in several ways. What was answered with success is there,
// and what failed, in a store that goes on, has had no effect.
func TestFailEveryOperation(t *testing.T) {
	for name, fault := range map[string]func(n int, op vfs.Op) error{
		"once EIO": func(n int, op vfs.Op) error {
			if op.Index == n {
				return syscall.EIO
			}
			return nil
		},
		"once half a write": func(n int, op vfs.Op) error {
			if op.Index == n {
				return &vfs.PartialError{Written: op.Len / 2, Err: syscall.ENOSPC}
			}
			return nil
		},
		"full from then on": func(n int, op vfs.Op) error {
			if op.Index >= n && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate) {
				return &vfs.PartialError{Written: op.Len / 3, Err: syscall.ENOSPC}
			}
			return nil
		},
		"EIO from then on": func(n int, op vfs.Op) error {
			if op.Index >= n {
				return syscall.EIO
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n, more := 1, true; more; n++ {
				more = failOperation(t, n, func(op vfs.Op) error { return fault(n, op) })
			}
		})
	}
}

// failOperation lives through a fault of operation n, and reports whether there was one.
func failOperation(t *testing.T, n int, fault func(vfs.Op) error) bool {
	dir, disk, h := t.TempDir(), vfs.NewMem(), &history{}
	disk.SetFault(fault)
	s, err := openWith(dir, storetest.Options(), config{disk: disk, logBytes: crashLog, noSync: true})
	if err == nil {
		h.run(s, 3)
		for w := range crashWriters {
			if h.stepOf(s, w) != h.acked[w] {
				t.Errorf("operation %d failed: writer %d is not at step %d", n, w, h.acked[w])
			}
		}
		image := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(uint64(n), 0)))
		h.check(t, copyFile(t, s, image, dir), image, fmt.Sprintf("operation %d failed, then a crash", n))
		if err := s.Close(); err != nil {
			t.Errorf("operation %d failed, then the end: %v", n, err)
		}
	} else if errors.Is(err, errDamaged) {
		t.Errorf("operation %d failed: %v", n, err)
	}
	disk.SetFault(nil)
	count := disk.OpCount()
	h.check(t, dir, disk, fmt.Sprintf("operation %d failed, then closed", n))
	return n <= count
}
