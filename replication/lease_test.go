package replication

import (
	"slices"
	"testing"
	"time"
)

const leaseOfTest = 1600 * time.Millisecond

// leasePair is two servers whose clocks go alike, and are apart.
type leasePair struct {
	t         *testing.T
	a, b      *Leases
	now       time.Duration
	uncovered []volumeID // that b did not cover, as a was told last
}

func newLeasePair(t *testing.T) *leasePair {
	times := Times{Lease: leaseOfTest}
	return &leasePair{t: t, a: NewLeases(1<<20, times, 0), b: NewLeases(1<<20, times, time.Hour)}
}

// ask lets a ask b, and brings everything to where it belongs until there is nothing more to say.
func (p *leasePair) ask() {
	p.uncovered = nil
	for letters := p.a.Tick(p.now); len(letters) > 0; {
		var next []Letter
		for _, l := range letters {
			if l.To == "b" {
				next = append(next, p.b.Receive("a", l.Message, p.now+time.Hour, func(volumeID) {})...)
			} else {
				next = append(next, p.a.Receive("b", l.Message, p.now, func(v volumeID) {
					p.uncovered = append(p.uncovered, v)
				})...)
			}
		}
		letters = next
	}
}

func (p *leasePair) covered(after Instant) bool {
	return p.a.with("b").covers(after, p.now, p.a.times)
}

func TestLeaseRunsFromTheAsk(t *testing.T) {
	p := newLeasePair(t)
	p.now = time.Second
	p.a.claim(7, 1, "b")
	p.b.claim(7, 1, "a")
	ask := p.a.Tick(p.now)[0].Message
	answer := p.b.Receive("a", ask, p.now+time.Hour+time.Second, nil)[0].Message
	p.now += time.Second
	p.a.Receive("b", answer, p.now, nil)
	if p.now = time.Second + leaseOfTest - p.a.times.margin() - 1; !p.covered(0) {
		t.Error("not covered for a lease from the ask on, less the margin")
	}
	if p.now++; p.covered(0) {
		t.Error("covered for longer than a lease from the ask on, less the margin")
	}
	if got, want := p.b.promisedUntil("a"), 2*time.Second+time.Hour+leaseOfTest; got != want {
		t.Errorf("promised until %v, want %v", got, want)
	}
}

func TestLeaseExceptsWhereEpochsDiffer(t *testing.T) {
	p := newLeasePair(t)
	p.now = time.Second
	for v := range volumeID(3) {
		p.a.claim(v+1, 1, "b")
		p.b.claim(v+1, 1, "a")
	}
	p.b.claim(2, 2, "a")
	p.b.claim(3, 0, "a")
	p.ask()
	if want := []volumeID{2, 3}; !slices.Equal(p.uncovered, want) || !p.covered(0) {
		t.Fatalf("not covered are %v, want %v; others covered: %v", p.uncovered, want, p.covered(0))
	}
	p.now += time.Second
	p.a.claim(2, 2, "b")
	p.a.claim(3, 0, "b")
	p.ask()
	if len(p.uncovered) != 0 || !p.covered(p.now-1) {
		t.Errorf("once both agree, %v are not covered; others covered: %v", p.uncovered, p.covered(p.now-1))
	}
	if p.covered(p.now) {
		t.Error("an ask covers what was claimed after it")
	}
}

func TestLeaseAfterRestart(t *testing.T) {
	p := newLeasePair(t)
	p.a.claim(7, 1, "b")
	p.b.claim(7, 1, "a")
	p.now = time.Second
	late := p.a.Tick(p.now)[0].Message
	started := p.now
	p.a = NewLeases(2<<20, p.a.times, started)
	p.a.claim(7, 1, "b")
	answer := p.b.Receive("a", late, p.now+time.Hour, nil)[0].Message
	if p.a.Receive("b", answer, p.now, nil); p.covered(0) {
		t.Error("covered by an answer to an earlier life")
	}
	if got := p.a.promisedUntil("b"); got != started+leaseOfTest {
		t.Errorf("what the earlier life promised ends at %v, want %v", got, started+leaseOfTest)
	}
}

func TestLeaseFarewell(t *testing.T) {
	p := newLeasePair(t)
	p.a.claim(7, 1, "b")
	p.b.claim(7, 1, "a")
	p.now = time.Second
	p.ask()
	farewell := p.a.Release()[0].Message
	if p.b.Receive("a", farewell, p.now+time.Hour, nil); !p.b.with("a").gone.Load() || p.b.promisedUntil("a") != 0 {
		t.Error("something is owed to a server that has taken its leave")
	}

	p.a = NewLeases(2<<20, p.a.times, p.now)
	p.a.claim(7, 1, "b")
	p.now += time.Second
	p.ask()
	promised := p.b.promisedUntil("a")
	if p.b.Receive("a", farewell, p.now+time.Hour, nil); p.b.with("a").gone.Load() || p.b.promisedUntil("a") != promised {
		t.Error("a farewell that comes late takes back what the next life was promised")
	}
}
