package live

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/replication"
	"weed/replication/link"
	"weed/storage"
)

// wire hands frames to another node at once. There are no appends with bytes.
type wire struct {
	from replication.Server
	to   *Node
}

func (w *wire) Send(_ replication.Server, frames ...link.Frame) {
	for _, f := range frames {
		w.to.Receive(w.from, f)
	}
}

// refusing are masters that change nothing.
type refusing struct{}

func (refusing) Configure(context.Context, blob.VolumeID, replication.Config) (replication.Config, error) {
	return replication.Config{}, errors.New("refused")
}

// BenchmarkIdleVolumes measures what replicated volumes cost that nobody uses: the share of a core, for two servers.
func BenchmarkIdleVolumes(b *testing.B) {
	for _, n := range []int{100, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			names := []replication.Server{"a", "b"}
			nodes := make([]*Node, 2)
			wires := []*wire{{from: "a"}, {from: "b"}}
			for i, name := range names {
				nodes[i] = New(Config{Self: name, Links: wires[i], Masters: refusing{}})
			}
			wires[0].to, wires[1].to = nodes[1], nodes[0]
			for _, node := range nodes {
				done := make(chan struct{})
				go func() { defer close(done); node.Run(b.Context()) }()
				b.Cleanup(func() { <-done })
			}
			began := time.Now()
			var stores []*storage.Store
			for range nodes {
				store, err := storage.OpenStore(vfs.NewMem(), []storage.Directory{{Path: "/d", MaxVolumes: n}}, storage.Config{})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = store.Close() })
				stores = append(stores, store)
			}
			for id := range n {
				for i, node := range nodes {
					v, err := stores[i].Create(blob.VolumeID(id+1), "", blob.Placement{}, blob.TTL{})
					if err == nil {
						_, err = node.Open(v, &replication.Config{Epoch: 1, Primary: names[id%2], Members: names, Copies: 2})
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			b.Logf("%d volumes were made in %v", 2*n, time.Since(began))
			resting := func() (count int) {
				for _, node := range nodes {
					for _, r := range *node.replicas.Load() {
						if !r.needsTick(node.now()) {
							count++
						}
					}
				}
				return count
			}
			for tick := time.NewTicker(10 * time.Millisecond); resting() < 2*n; <-tick.C {
			}
			b.Logf("they rest after %v", time.Since(began))
			began, spent := time.Now(), cpuTime(b)
			for b.Loop() {
				<-time.After(time.Second)
			}
			b.ReportMetric(100*float64(cpuTime(b)-spent)/float64(time.Since(began))/2, "%core/server")
		})
	}
}

// cpuTime is what the process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
