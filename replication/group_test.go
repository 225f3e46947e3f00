package replication

import "testing"

// A server whose disk gets full while it takes up its place in an epoch says so, for the epoch waits for it: nobody
// else would ever leave it out, as it is there and keeps its promises.
func TestNewMemberThatFailsResigns(t *testing.T) {
	g := NewGroup(7, "c", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{}, Origin{}, LogStart, false, 0)
	now := Instant(0)
	three := Config{Epoch: 3, Primary: "a", Members: []Server{"a", "b", "c"}, Copies: 3}
	g.Configured(three, now)
	g.Failed(now)
	told := map[Server]bool{}
	for range 20 {
		now += simLease / 10
		for _, e := range g.Tick(now) {
			if e.Kind == EffectSend && e.Message.Kind == MsgResign && e.Message.Epoch == 3 {
				told[e.To] = true
			}
		}
	}
	if !told["a"] || !told["b"] {
		t.Fatalf("only %v know that it can't go on", told)
	}
	// The one who leads asks for an epoch without it.
	a := NewGroup(7, "a", NewLeases(1<<20, Times{Lease: simLease}, 0), Durable{Config: three, Complete: 3}, Origin{}, LogStart, true, 0)
	asked := false
	for range 30 {
		now += simLease / 10
		effects := a.Receive("c", Message{Kind: MsgResign, Epoch: 3, Life: 1 << 20}, now)
		for _, e := range append(effects, a.Tick(now)...) {
			asked = asked || e.Kind == EffectConfigure && !e.Config.Has("c")
		}
	}
	if !asked {
		t.Fatal("it is not left out")
	}
}
