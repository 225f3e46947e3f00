package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// entry is what the property test knows of a key.
type entry struct {
	cookie blob.Cookie
	data   []byte
	ttl    blob.TTL
	born   time.Time
}

// machine drives one volume and a map side by side.
type machine struct {
	clock   *fakeClock
	disk    *vfs.Mem
	store   *Store
	volume  *Volume
	ttl     blob.TTL // of the volume
	want    map[blob.Key]entry
	scratch []byte
	solo    func(*Volume) // makes the volume the only copy of a replicated one
}

func (m *machine) config() Config { return Config{Now: m.clock.Now} }

func (m *machine) open(t *rapid.T) {
	var err error
	if m.store, err = OpenStore(m.disk, []Directory{{Path: testDir, MaxVolumes: 1}}, m.config()); err != nil {
		t.Fatal(err)
	}
	var ok bool
	if m.volume, ok = m.store.Volume(7); !ok {
		t.Fatal("the volume does not open")
	}
	if cause := m.volume.Status().ReadOnly; cause != 0 {
		t.Fatalf("the volume is %v", cause)
	}
	m.solo(m.volume)
}

// expired follows the documentation: a needle's own time to live, else the volume's, from the append on.
func (m *machine) expired(e entry) bool {
	ttl := e.ttl
	if ttl.IsZero() {
		ttl = m.ttl
	}
	return !ttl.IsZero() && m.clock.Now().Sub(e.born) >= ttl.Duration()
}

func (m *machine) check(t *rapid.T) {
	live := 0
	for key := range blob.Key(12) {
		e, ok := m.want[key]
		if ok {
			live++
		}
		n, buf, err := m.volume.Get(key, e.cookie, m.scratch)
		m.scratch = buf
		if visible := ok && !m.expired(e); !visible && !errors.Is(err, ErrNotFound) || visible && (err != nil || !bytes.Equal(n.Data, e.data)) {
			t.Fatalf("get %d: %v; known: %v, visible: %v", key, err, ok, visible)
		}
		if _, _, err := m.volume.Get(key, e.cookie+1, nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("get %d with a wrong cookie: %v", key, err)
		}
	}
	if got := m.volume.Status(); got.Live != live {
		t.Fatalf("%d live, want %d", got.Live, live)
	}
}

func (m *machine) put(t *rapid.T) {
	key := blob.Key(rapid.IntRange(0, 11).Draw(t, "key"))
	n := &Needle{Key: key, Cookie: blob.Cookie(rapid.IntRange(1, 3).Draw(t, "cookie")),
		Data: payload(uint64(key), rapid.SampledFrom([]int{0, 1, 7, 100, 480, 5000, copyLimit}).Draw(t, "size"))}
	if rapid.Bool().Draw(t, "with ttl") {
		n.TTL = blob.TTL{Count: uint8(rapid.IntRange(1, 5).Draw(t, "ttl")), Unit: blob.TTLMinute}
	}
	old, ok := m.want[key]
	err := m.volume.Put(n)
	if ok && old.cookie != n.Cookie {
		if !errors.Is(err, ErrCookie) {
			t.Fatalf("overwrite of %d with a wrong cookie: %v", key, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.want[key] = entry{n.Cookie, n.Data, n.TTL, m.clock.Now()}
}

func (m *machine) remove(t *rapid.T) {
	key := blob.Key(rapid.IntRange(0, 11).Draw(t, "key"))
	cookie := blob.Cookie(rapid.IntRange(1, 3).Draw(t, "cookie"))
	old, ok := m.want[key]
	size, err := m.volume.Delete(key, cookie)
	if !ok || old.cookie != cookie || m.expired(old) {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("delete %d: %v", key, err)
		}
		return
	}
	if err != nil || size != int64(len(old.data)) {
		t.Fatalf("delete %d: %d bytes, %v", key, size, err)
	}
	delete(m.want, key)
}

func (m *machine) closeAndOpen(t *rapid.T) {
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

func (m *machine) crash(t *rapid.T) {
	loss := rapid.SampledFrom([]vfs.Loss{vfs.LoseNothing, vfs.LoseUnsynced, vfs.LoseSome}).Draw(t, "loss")
	old := m.store
	m.disk = m.disk.Crash(loss, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	_ = old.Close() // on a disk that is gone; it ends the goroutines
	m.open(t)
}

// TestVolumeIsAMap compares a volume with a map under puts, overwrites, wrong cookies, deletes, passing
// time, restarts and crashes.
func TestVolumeIsAMap(t *testing.T) {
	t.Run("plain", func(t *testing.T) { volumeIsAMap(t, func(*Volume) {}) })
	t.Run("solo", func(t *testing.T) { volumeIsAMap(t, func(v *Volume) { replicateAlone(t, v) }) })
}

func volumeIsAMap(t *testing.T, solo func(*Volume)) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{clock: newFakeClock(), disk: vfs.NewMem(), want: map[blob.Key]entry{}, solo: solo}
		if rapid.Bool().Draw(t, "volume with ttl") {
			m.ttl = blob.TTL{Count: 3, Unit: blob.TTLMinute}
		}
		s, err := OpenStore(m.disk, []Directory{{Path: testDir, MaxVolumes: 1}}, m.config())
		if err != nil {
			t.Fatal(err)
		}
		m.store = s
		if m.volume, err = s.Create(7, "", blob.Placement{}, m.ttl); err != nil {
			t.Fatal(err)
		}
		m.solo(m.volume)
		t.Repeat(map[string]func(*rapid.T){
			"put":    m.put,
			"put 2":  m.put, // more often than the others
			"delete": m.remove,
			"reopen": m.closeAndOpen,
			"crash":  m.crash,
			"minutes": func(t *rapid.T) {
				m.clock.advance(time.Duration(rapid.IntRange(1, 120).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				m.clock.advance(time.Millisecond) // commits that share an instant get later ones
				m.check(t)
			},
		})
		if err := m.store.Close(); err != nil {
			t.Fatal(err)
		}
		dat := readTestFileR(t, m.disk, testBase+".dat")
		if records := logRecords(Version3, dat); len(records) > 0 {
			last := records[len(records)-1]
			if last.offset+last.length != int64(len(dat)) {
				t.Fatal("the log does not end with a record")
			}
		}
	})
}

func readTestFileR(t *rapid.T, disk vfs.FS, name string) []byte {
	f, err := disk.OpenFile(name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if err := readFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
