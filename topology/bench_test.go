package topology

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

const (
	benchServers = 10_000
	benchCopies  = 100 // on each server
)

// big is a cluster of 10,000 servers in 4 data centers with 1,000,000 volumes of 20 collections.
type big struct {
	tree           *Tree
	bytesPerCopy   float64
	registerMicros float64 // of one server with its 100 copies
}

func bigHeartbeat(i int) *wire.Heartbeat {
	hb := &wire.Heartbeat{URL: fmt.Sprintf("10.%d.%d.%d:8080", i%4, i/250, i%250), DataCenter: fmt.Sprintf("dc%d", i%4),
		Rack: fmt.Sprintf("rack%d", i%400), Max: 200, Incarnation: 1, Sequence: 1, Full: true}
	for j := range benchCopies {
		id := uint32(i*benchCopies + j + 1)
		v := info(id, fmt.Sprintf("collection%d", j%20), "000")
		v.SizeBytes, v.FileCount, v.MaxKey, v.Disk = 100, 200, 300, j%4
		hb.Volumes = append(hb.Volumes, v)
	}
	return hb
}

var bigCluster = sync.OnceValue(func() *big {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tree := New(Config{})
	var spent time.Duration
	for i := range benchServers {
		hb := bigHeartbeat(i)
		began := time.Now()
		for j := range hb.Volumes {
			tree.Bind(blob.VolumeID(hb.Volumes[j].ID), Group{Key: mustKey(&hb.Volumes[j]), Members: []string{hb.URL}, Open: true})
		}
		if _, err := tree.Heartbeat(start, hb); err != nil {
			panic(err)
		}
		spent += time.Since(began)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return &big{tree, float64(after.HeapAlloc-before.HeapAlloc) / (benchServers * benchCopies),
		float64(spent.Microseconds()) / benchServers}
})

func BenchmarkPick(b *testing.B) {
	c := bigCluster()
	for name, pref := range map[string]Preference{"any": {}, "dataCenter": {DataCenter: "dc3"},
		"rack": {DataCenter: "dc3", Rack: "rack3"}, "node": {DataNode: "10.3.0.3:8080"}} {
		b.Run(name, func(b *testing.B) {
			key := layoutKey("collection7", "000")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.tree.Pick(key, pref); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(c.bytesPerCopy, "B/copy")
			b.ReportMetric(c.registerMicros, "µs/registration")
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	c := bigCluster()
	var room [4]*Location
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := blob.VolumeID(i*7919%(benchServers*benchCopies) + 1)
		if _, _, ok := c.tree.Lookup(id, room[:0]); !ok {
			b.Fatal(id)
		}
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	c := bigCluster()
	for _, kind := range []string{"nothing", "full", "one filled"} {
		b.Run(kind, func(b *testing.B) {
			full := bigHeartbeat(1234)
			b.ReportAllocs()
			for b.Loop() {
				hb := *full
				hb.Sequence = c.sequence(full.URL) + 1
				switch hb.Full = kind == "full"; kind {
				case "nothing":
					hb.Volumes = nil
				case "one filled":
					hb.Volumes = hb.Volumes[:1]
					hb.Volumes[0].SizeBytes = 30000 << 20 * (hb.Sequence % 2)
				}
				if out, err := c.tree.Heartbeat(start, &hb); err != nil || out.Resend {
					b.Fatal(out, err)
				}
			}
		})
	}
}

func (c *big) sequence(url string) uint64 { return c.tree.nodes[url].sequence }

func BenchmarkReserve(b *testing.B) {
	c := bigCluster()
	for _, code := range []string{"000", "110"} {
		b.Run(code, func(b *testing.B) {
			for b.Loop() {
				plans, err := c.tree.Reserve(layoutKey("", code), Preference{}, 1)
				if err != nil {
					b.Fatal(err)
				}
				c.tree.Release(plans[0])
			}
		})
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	f := newFixture(t)
	s := newServer("a:1", "dc1", "r1", 7)
	s.vols[1] = info(1, "c", "000")
	f.beat(s.full())
	name := []byte("c")
	for _, pref := range []Preference{{}, {DataCenter: "dc1"}, {DataNode: "a:1"}} {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := f.Pick(LayoutKey{Collection: string(name)}, pref); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%+v: %v allocations", pref, n)
		}
	}
}
