package index_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/storage/index"
)

// volume hands out needles as a writer of a volume does: keys that rise with the gaps that other volumes
// leave, needles of 1 byte up to a largest size one behind the other. Offsets wrap where a real volume
// would be full.
type volume struct {
	rng     *rand.Rand
	key     uint64
	offset  uint32
	maxSize uint32
}

func newVolume(maxSize uint32) *volume {
	return &volume{rng: rand.New(rand.NewPCG(1, uint64(maxSize))), offset: 1, maxSize: maxSize}
}

func (v *volume) next() (blob.Key, index.Location) {
	v.key += 1 + v.rng.Uint64N(13)
	return blob.Key(v.key), v.place()
}

func (v *volume) place() index.Location {
	loc := index.Location{Offset: v.offset, Size: 1 + v.rng.Uint32N(v.maxSize)}
	v.offset = max(1, v.offset+(loc.Size+28+7)/8)
	return loc
}

// cpuTime returns what the process has used, which other processes of the machine disturb far less than
// they do the clock.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func filled(n int, maxSize uint32) (*index.Map, []blob.Key) {
	m, v := index.New(), newVolume(maxSize)
	keys := make([]blob.Key, n)
	for i := range keys {
		key, loc := v.next()
		keys[i] = key
		m.Put(key, loc)
	}
	return m, keys
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, keys := filled(n, 64<<10)
			rng := rand.New(rand.NewPCG(2, 2))
			rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			b.ReportAllocs()
			i, start := 0, cpuTime()
			for b.Loop() {
				if _, ok := m.Get(keys[i]); !ok {
					b.Fatal("a key is missing")
				}
				if i++; i == len(keys) {
					i = 0
				}
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(m.Bytes())/float64(n), "B/needle")
		})
	}
}

// timed runs put n times and reports the CPU time of one and the slowest one by the clock.
func timed(b *testing.B, m *index.Map, n int, put func(i int)) {
	var slowest time.Duration
	start, last := cpuTime(), time.Now()
	for i := range n {
		put(i)
		now := time.Now()
		slowest = max(slowest, now.Sub(last))
		last = now
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(n), "cpu-ns/put")
	b.ReportMetric(float64(slowest.Microseconds()), "max-µs/put")
	b.ReportMetric(float64(m.Bytes())/float64(m.Len()), "B/needle")
}

func BenchmarkPut(b *testing.B) {
	b.Run("sequential", func(b *testing.B) {
		m, v := index.New(), newVolume(64<<10)
		timed(b, m, b.N, func(int) { m.Put(v.next()) })
	})
	b.Run("random-keys", func(b *testing.B) {
		m, v := index.New(), newVolume(64<<10)
		timed(b, m, b.N, func(int) { m.Put(blob.Key(v.rng.Uint64()), v.place()) })
	})
	for _, n := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("shuffled-%d", n), func(b *testing.B) {
			for b.Loop() {
				m, v := index.New(), newVolume(64<<10)
				order := v.rng.Perm(n)
				timed(b, m, n, func(i int) { m.Put(blob.Key(order[i]*7), v.place()) })
			}
		})
		b.Run(fmt.Sprintf("overwrite-%d", n), func(b *testing.B) {
			m, keys := filled(n, 64<<10)
			v := newVolume(64 << 10)
			b.ResetTimer()
			timed(b, m, b.N, func(int) { m.Put(keys[v.rng.IntN(n)], v.place()) })
		})
	}
}

// BenchmarkLoad10M puts what the .idx of a volume of 10 million entries holds, in the order of the log:
// nine in ten new keys, which arrive slightly out of order as many clients write them, the rest
// overwrites and deletes of any older one.
func BenchmarkLoad10M(b *testing.B) {
	for _, old := range []float64{0, 0.1} {
		b.Run(fmt.Sprintf("old=%v", old), func(b *testing.B) {
			const n = 10_000_000
			type record struct {
				key blob.Key
				loc index.Location
			}
			log := make([]record, n)
			v := newVolume(3 << 10)
			for i := range log {
				switch p := v.rng.Float64(); {
				case p < old/2:
					log[i] = record{log[v.rng.IntN(i+1)].key, v.place()}
				case p < old:
					log[i].key = log[v.rng.IntN(i+1)].key
				default:
					log[i].key, log[i].loc = v.next()
					if old > 0 {
						j := max(0, i-v.rng.IntN(64))
						log[i].key, log[j].key = log[j].key, log[i].key
					}
				}
			}
			b.Run("Loader", func(b *testing.B) {
				start := cpuTime()
				for b.Loop() {
					l := index.NewLoader()
					for _, r := range log {
						l.Put(r.key, r.loc) // a Location of zeros deletes
					}
					m, _ := l.Map()
					b.ReportMetric(float64(m.Bytes())/float64(m.Len()), "B/needle")
				}
				b.ReportMetric(float64(cpuTime()-start)/float64(b.N)/n, "cpu-ns/put")
			})
			b.Run("Put", func(b *testing.B) {
				for b.Loop() {
					m := index.New()
					timed(b, m, n, func(i int) { m.Put(log[i].key, log[i].loc) })
				}
			})
		})
	}
}
