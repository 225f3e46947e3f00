package state

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
)

const (
	benchServers = 10_000
	benchVolumes = 1_000_000
)

func benchServer(i int) ServerID {
	return ServerID(fmt.Sprintf("10.%d.%d.7:8080", i%benchServers/100, i%100))
}

// big returns a state of a million volumes of one copy on ten thousand servers, made once for all benchmarks.
var big = sync.OnceValue(func() *Machine {
	m := New()
	for i := range benchServers {
		m.Apply(PutServer(Server{ID: benchServer(i), PublicURL: string(benchServer(i)), DataCenter: "dc", Rack: "r", Slots: 200}).Bytes())
	}
	for i := range benchVolumes / 1000 {
		groups := make([]Group, 1000)
		for j := range groups {
			at := benchServer(rand.IntN(benchServers))
			groups[j] = Group{at, []ServerID{at}}
		}
		layout := Layout{Collection: fmt.Sprint("c", i%10), DiskVersion: 3}
		if err, failed := m.Apply(CreateVolumes(Token{byte(i), byte(i >> 8), 1}, layout, groups).Bytes()).(error); failed {
			panic(err)
		}
	}
	return m
})

// cpu starts to count the processor time of the process; what it returns reports it per piece of work. Unlike
// the time that passes it says little about what else the machine does.
func cpu(b *testing.B) (report func(pieces int)) {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func(pieces int) { b.ReportMetric(float64(used()-before)/float64(pieces), "cpu-ns/op") }
}

// BenchmarkMemory reports the bytes that a volume takes.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	m := big()
	snapshot := encoded(b, m)
	for b.Loop() {
		before := heap()
		m := New()
		if err := m.Restore(bytes.NewReader(snapshot)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/benchVolumes, "B/volume")
		runtime.KeepAlive(m)
	}
	b.ReportMetric(float64(len(snapshot))/benchVolumes, "B/volume-in-snapshot")
}

func BenchmarkVolume(b *testing.B) {
	m := big()
	b.ResetTimer()
	report := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(1, rand.Uint64()))
		sum := 0
		for pb.Next() {
			v, _ := m.Volume(blob.VolumeID(1 + r.IntN(benchVolumes)))
			sum += len(v.Members)
		}
		runtime.KeepAlive(sum)
	})
	report(b.N)
}

func BenchmarkServer(b *testing.B) {
	m := big()
	names := make([]ServerID, benchServers)
	for i := range names {
		names[i] = benchServer(i)
	}
	b.ResetTimer()
	report := cpu(b)
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(1, rand.Uint64()))
		for pb.Next() {
			m.Server(names[r.IntN(benchServers)])
		}
	})
	report(b.N)
}

// BenchmarkApply changes records all over the state. A snapshot is taken as often as raftstore does.
func BenchmarkApply(b *testing.B) {
	const commands, snapshotEvery = 1 << 15, 8192
	m := big()
	volume := func(i int) *Volume {
		v, _ := m.Volume(blob.VolumeID(1 + uint32(i)*2654435761%benchVolumes))
		return v
	}
	for _, c := range []struct {
		name    string
		command func(i int) []byte
	}{
		{"state", func(i int) []byte {
			v, to := volume(i), Writable
			if v.State == Writable {
				to = ReadOnly
			}
			return SetStates([]StateChange{{v.ID, v.Epoch, v.State, to}}).Bytes()
		}},
		{"group", func(i int) []byte {
			v, at := volume(i), benchServer(i*7)
			return Reconfigure([]GroupChange{{v.ID, v.Epoch, Group{at, []ServerID{at}}}}).Bytes()
		}},
		{"create", func(i int) []byte {
			at := benchServer(i * 7)
			return CreateVolumes(Token{byte(i), byte(i >> 8), byte(i >> 16), 2}, Layout{DiskVersion: 3}, []Group{{at, []ServerID{at}}}).Bytes()
		}},
		{"server", func(i int) []byte {
			return PutServer(Server{ID: benchServer(i * 7), Slots: uint32(i)}).Bytes()
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			made := 0
			for b.Loop() {
				b.StopTimer()
				log := make([][]byte, commands)
				for i := range log {
					made++
					log[i] = c.command(made)
				}
				runtime.GC()
				report := cpu(b)
				b.StartTimer()
				for i, command := range log {
					if err, failed := m.Apply(command).(error); failed {
						b.Fatal(err)
					}
					if i%snapshotEvery == 0 {
						m.Snapshot()
					}
				}
				report(commands)
			}
		})
	}
}

// BenchmarkSnapshot writes snapshots and reports how long commands had to wait for one to be taken, at most.
func BenchmarkSnapshot(b *testing.B) {
	m := big()
	var taking time.Duration
	report := cpu(b)
	for b.Loop() {
		began := time.Now()
		s, _ := m.Snapshot()
		taking = max(taking, time.Since(began))
		if _, err := s.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		m.Apply(LeaseKeys(1).Bytes()) // so that the next one is not the same View
	}
	report(b.N)
	b.ReportMetric(float64(taking.Microseconds()), "µs-to-take")
}

func BenchmarkRestore(b *testing.B) {
	snapshot := encoded(b, big())
	report := cpu(b)
	for b.Loop() {
		if err := New().Restore(bytes.NewReader(snapshot)); err != nil {
			b.Fatal(err)
		}
	}
	report(b.N)
}

func BenchmarkViewAndChanges(b *testing.B) {
	m := big()
	older := m.View()
	var id blob.VolumeID
	for b.Loop() {
		id = id%benchVolumes + 1
		v, _ := m.Volume(id)
		to := Writable
		if v.State == Writable {
			to = ReadOnly
		}
		m.Apply(SetStates([]StateChange{{id, v.Epoch, v.State, to}}).Bytes())
		newer := m.View()
		n := 0
		for range newer.ChangesSince(older) {
			n++
		}
		if n != 1 {
			b.Fatalf("%d changes", n)
		}
		older = newer
	}
}
