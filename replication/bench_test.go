package replication

import (
	"fmt"
	"testing"
)

// BenchmarkBatch is what one batch costs the primary: to propose it, to have it persisted, and to take the
// acknowledgements of the other members, which commit it.
func BenchmarkBatch(b *testing.B) {
	for _, members := range []int{1, 2, 3} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			g, others := primaryOfTest(b, members)
			effects := 0
			b.ReportAllocs()
			for b.Loop() {
				_, out, err := g.Propose(4096, true, 1)
				if err != nil {
					b.Fatal(err)
				}
				effects += len(out)
				effects += len(g.AllPersisted(1))
				for _, s := range others {
					ack := Message{Kind: MsgAck, Epoch: 1, Round: g.progress[s].round, Life: 1, Length: g.length, Committed: g.committed}
					effects += len(g.Receive(s, ack, 1))
				}
			}
			if g.committed != g.length {
				b.Fatalf("committed %d of %d", g.committed, g.length)
			}
			b.ReportMetric(float64(effects)/float64(b.N), "effects/op")
		})
	}
}

// BenchmarkReadable is what leases cost a read.
func BenchmarkReadable(b *testing.B) {
	g, others := primaryOfTest(b, 3)
	for _, s := range others {
		g.leases.with(s).granted.Store(1 << 40)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !g.Readable(1 << 40) {
			b.Fatal("not readable")
		}
	}
}

// primaryOfTest returns the primary of an epoch that has begun, and the other members.
func primaryOfTest(tb testing.TB, members int) (*Group, []Server) {
	c := Config{Epoch: 1, Primary: "a", Members: []Server{"a", "b", "c"}[:members], Copies: members}
	g := NewGroup(7, "a", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{Config: c, Complete: 1}, Origin{}, LogStart, true, 0)
	for _, s := range c.Members[1:] {
		report := Message{Kind: MsgReport, Epoch: 1, Round: g.progress[s].round, Life: 1, Length: LogStart, Complete: 1}
		g.Receive(s, report, 0)
		g.Receive(s, Message{Kind: MsgAck, Epoch: 1, Round: report.Round, Life: 1, Length: LogStart}, 0)
	}
	if !g.active {
		tb.Fatal("the epoch has not begun")
	}
	return g, c.Members[1:]
}
