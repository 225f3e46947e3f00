package storage

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// workload is what the disk is failed under.
type workload struct {
	t       *testing.T
	writers int
	large   bool // with blobs of a MiB
	solo    bool // as the only copy of a replicated volume
	// inDoubt: the disk may fail to take a failed append back, so the outcome of that append is open.
	inDoubt bool
	// failed is called after each operation that failed.
	failed func()
}

// run opens a store, creates volume 7, writes, and closes, going on whatever fails.
func (w workload) run(disk *vfs.Mem, m *model) {
	s, err := OpenStore(disk, []Directory{{Path: testDir, MaxVolumes: 1}}, Config{})
	if err != nil {
		w.tell()
		return
	}
	v, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
	m.mu.Lock()
	m.created = err == nil
	m.mu.Unlock()
	if err == nil {
		if w.solo {
			replicateAlone(w.t, v)
		}
		var group sync.WaitGroup
		for i := range w.writers {
			group.Go(func() { w.write(v, m, blob.Key(i*100)) })
		}
		group.Wait()
	} else {
		w.tell()
	}
	if s.Close() != nil {
		w.tell()
	}
}

func (w workload) tell() {
	if w.failed != nil {
		w.failed()
	}
}

// write is the share of one writer.
func (w workload) write(v *Volume, m *model, base blob.Key) {
	put := func(key blob.Key, size, pairs int) {
		key += base
		n := &Needle{Key: key, Cookie: testCookie, Data: payload(uint64(key)<<20|uint64(size), size), Name: fmt.Append(nil, "n", size)}
		if pairs > 0 {
			n.Pairs = fmt.Appendf(nil, `{"K":"%0*d"}`, pairs, 7)
		}
		m.begin(key, n)
		err := v.Put(n)
		m.end(key, n, err, w.inDoubt)
		if err != nil {
			w.tell()
		}
	}
	remove := func(key blob.Key) {
		key += base
		m.begin(key, nil)
		_, err := v.Delete(key, testCookie)
		m.end(key, nil, err, w.inDoubt)
		if err != nil {
			w.tell()
		}
	}
	put(1, 100, 0)
	put(2, 40<<10, 0)
	put(1, 200, 3000)
	if w.large {
		put(3, 1<<20, 0)
	}
	put(4, 0, 0)
	remove(2)
	put(5, 1000, 0)
	put(2, 5000, 0)
	remove(1)
	put(5, 1001, 100)
	put(1, 3000, 0)
	remove(5)
	put(6, 476, 0)
	put(3, 600, 1500)
}

// images are what a crash at this moment may leave.
func images(disk *vfs.Mem, seed uint64, draws int) map[string]*vfs.Mem {
	all := map[string]*vfs.Mem{
		"killed":               disk.Image(vfs.LoseNothing, nil),
		"all that is unsynced": disk.Image(vfs.LoseUnsynced, nil),
	}
	for i := range draws {
		all[fmt.Sprintf("some, seed %d/%d", seed, i)] = disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(seed, uint64(i))))
	}
	return all
}

// TestCrashAtEveryOperation pulls the plug before each operation on the disk. Whatever was answered with
// success is there, what was in flight is there whole or not at all, and nothing is taken for damage.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, w := range []workload{{writers: 1, large: true}, {writers: 8}, {writers: 3, solo: true}} {
		t.Run(fmt.Sprint(w.writers), func(t *testing.T) {
			t.Parallel()
			w.t = t
			type moment struct {
				what  string
				model *model
				disk  *vfs.Mem
			}
			var mu sync.Mutex // guards moments
			var moments []moment
			disk, m := vfs.NewMem(), newModel()
			disk.SetFault(func(op vfs.Op) error {
				if op.Kind.Mutates() && op.Index%faultStride == 0 {
					state := m.snapshot() // before the images: what is answered meanwhile is in them anyway
					for what, image := range images(disk, uint64(op.Index), 3) {
						mu.Lock()
						moments = append(moments, moment{fmt.Sprintf("before %v, losing %s", op, what), state, image})
						mu.Unlock()
					}
				}
				return nil
			})
			w.run(disk, m)
			for _, moment := range moments {
				moment.model.checkDisk(t, moment.disk, moment.what)
			}
		})
	}
}

// faults are the ways in which the disk lets the engine down at its n-th operation.
var faults = []struct {
	name    string
	inDoubt bool
	at      func(n int) func(vfs.Op) error
}{
	{"once EIO", false, func(n int) func(vfs.Op) error {
		return func(op vfs.Op) error {
			if op.Index == n {
				return syscall.EIO
			}
			return nil
		}
	}},
	{"once half a write", false, func(n int) func(vfs.Op) error {
		return func(op vfs.Op) error {
			if op.Index == n {
				return &vfs.PartialError{Written: op.Len / 2, Err: syscall.ENOSPC}
			}
			return nil
		}
	}},
	{"full from then on", false, func(n int) func(vfs.Op) error {
		return func(op vfs.Op) error {
			if op.Index >= n && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate) {
				return &vfs.PartialError{Written: op.Len / 3, Err: syscall.ENOSPC}
			}
			return nil
		}
	}},
	// Nothing can be taken back: what failed in the commit that met the fault may be found after a restart,
	// each operation whole or not at all. Later ones are refused before they touch the disk.
	{"EIO from then on", true, func(n int) func(vfs.Op) error {
		return func(op vfs.Op) error {
			if op.Index >= n {
				return syscall.EIO
			}
			return nil
		}
	}},
}

// TestFailEveryOperation fails each operation on the disk in each way and goes on. What was answered with
// success is there; what failed has had no effect, neither now nor after any crash.
func TestFailEveryOperation(t *testing.T) {
	for _, w := range []workload{{writers: 1, large: true}, {writers: 6}, {writers: 1, large: true, solo: true}, {writers: 3, solo: true}} {
		count := vfs.NewMem()
		w.t = t
		w.run(count, newModel())
		for _, fault := range faults {
			t.Run(fmt.Sprintf("%d writers/solo %v/%s", w.writers, w.solo, fault.name), func(t *testing.T) {
				t.Parallel()
				mine := w
				mine.t = t
				for n := 1; n <= count.OpCount(); n += faultStride {
					failOperation(t, mine, n, fault.inDoubt, fault.at(n))
				}
			})
		}
	}
}

func failOperation(t *testing.T, w workload, n int, inDoubt bool, fault func(vfs.Op) error) {
	disk, m := vfs.NewMem(), newModel()
	disk.SetFault(fault)
	var once sync.Once
	var atFault *model
	var left map[string]*vfs.Mem
	w.inDoubt = inDoubt
	w.failed = func() {
		once.Do(func() {
			atFault = m.snapshot()
			left = images(disk, uint64(n), 1)
		})
	}
	w.run(disk, m)
	for what, image := range left {
		atFault.checkDisk(t, image, fmt.Sprintf("operation %d failed, then a crash loses %s", n, what))
	}
	some := disk.Image(vfs.LoseSome, rand.New(rand.NewPCG(uint64(n), 1)))
	m.checkDisk(t, some, fmt.Sprintf("operation %d failed, and after the end a crash", n))
	disk.SetFault(nil)
	m.checkDisk(t, disk, fmt.Sprintf("operation %d failed, then closed", n))
}
