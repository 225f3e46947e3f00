package link

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/replication"
)

// fileLog is the log of all volumes, in a file.
type fileLog struct{ *os.File }

func (l fileLog) ReadLog(_ blob.VolumeID, offset int64, p []byte, _ *replication.Origin) (int, error) {
	return l.ReadAt(p, offset)
}

func openLog(t testing.TB) fileLog {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return fileLog{f}
}

// answerer acknowledges all appends of a read together.
type answerer struct {
	links *Links
	acks  []Frame
}

func (a *answerer) Receive(_ replication.Server, f Frame) {
	a.acks = append(a.acks, ackOf(f.Volume, f.Message.Offset+f.Message.Size))
	f.Release()
}

func (a *answerer) Flush(from replication.Server) {
	a.links.Send(from, a.acks...)
	a.acks = a.acks[:0]
}

// asker keeps a number of appends under way, until it has had enough acknowledgements.
type asker struct {
	links *Links
	more  []Frame
	left  int // to be sent
	open  int // to be acknowledged
	done  chan struct{}
}

func (a *asker) Receive(replication.Server, Frame) {
	if a.open--; a.open == 0 {
		close(a.done)
	}
	if a.left > 0 {
		a.left--
		a.more = append(a.more, appendOf(7, int64(a.left%1000)<<10, 1<<10))
	}
}

func (a *asker) Flush(from replication.Server) {
	a.links.Send(from, a.more...)
	a.more = a.more[:0]
}

type pair struct {
	a, b  *node
	asker *asker
}

func startPair(t testing.TB) *pair {
	log := openLog(t)
	source := func(c *Config) { c.Source = log }
	ask, answer := &asker{}, &answerer{}
	p := &pair{a: startNode(t, "127.0.0.1:0", ask, source), b: startNode(t, "127.0.0.1:0", answer, source), asker: ask}
	ask.links, answer.links = p.a.Links, p.b.Links
	p.run(64, 16) // connects, and fills the pools
	return p
}

// run has n appends of 1 KiB acknowledged, depth of them at a time.
func (p *pair) run(n, depth int) {
	depth = min(n, depth)
	done := make(chan struct{})
	p.asker.left, p.asker.open, p.asker.done = n-depth, n, done
	first := make([]Frame, depth)
	for i := range first {
		first[i] = appendOf(7, int64(i)<<10, 1<<10)
	}
	p.a.Send(p.b.self, first...)
	<-done
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppendAck counts an append of 1 KiB and its acknowledgement as two messages. CPU is that of both ends.
func BenchmarkAppendAck(b *testing.B) {
	for _, depth := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			p := startPair(b)
			before := p.a.peer(p.b.self)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			p.run(b.N, depth)
			cpu = cpuTime() - cpu
			b.StopTimer()
			after := p.a.peer(p.b.self)
			n := 2 * float64(b.N)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/msg")
			b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/msg")
			b.ReportMetric(float64(b.N)/float64(after.Writes-before.Writes+1), "appends/write")
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	var source Source = bytesSource(make([]byte, 1<<10))
	for _, f := range []Frame{appendOf(7, 8, 1<<10), ackOf(7, 8)} {
		out := make([]byte, 0, f.bound())
		frame, err := appendFrame(out, &f, source)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/bytes=%d", f.Message.Size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = appendFrame(out, &f, source)
			}
		})
		b.Run(fmt.Sprintf("decode/bytes=%d", f.Message.Size), func(b *testing.B) {
			b.ReportAllocs()
			var got Frame
			for b.Loop() {
				_ = decodeFrame(frame, &got)
			}
		})
	}
}
