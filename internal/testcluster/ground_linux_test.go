package testcluster_test

import (
	"syscall"
	"testing"

	"weed/internal/testcluster"
)

// newGround returns nodes in a network of their own where that can be made, else loopback.
func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{place: func() testcluster.Place { return testcluster.FreePlace(t) }}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err == nil {
		t.Cleanup(func() { // after the servers have ended
			if err := syscall.Unmount(disk, 0); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
		g.disk = disk
	} else {
		t.Log("no disk gets full:", err)
	}
	network, err := testcluster.TryNetwork(t)
	if err != nil {
		t.Log("nothing is cut off:", err)
		return g
	}
	nodes := make(map[string]testcluster.Node)
	g.place = func() testcluster.Place {
		node := network.Add()
		at := node.Place("8080")
		nodes[at.Addr] = node
		return at
	}
	g.cut = func(from, to string) (heal func()) {
		network.CutOneWay(nodes[from], nodes[to])
		return func() { network.HealOneWay(nodes[from], nodes[to]) }
	}
	g.slow = func(to string, kilobits int) (heal func(), err error) {
		if err := network.Slow(nodes[to], kilobits); err != nil {
			return nil, err
		}
		return func() {
			if err := network.Fast(nodes[to]); err != nil {
				t.Error(err)
			}
		}, nil
	}
	return g
}
