package replication

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"weed/internal/blob"
)

// simLease is the lease of all simulated clusters.
const simLease = 3 * time.Second

// simPlan is what a seed chooses once: the shape of the cluster, and which faults there are how often. A fault
// that is left out in some runs leaves room for others to go on longer.
type simPlan struct {
	servers, volumes int
	sync             bool // -fsync=always: nothing is reported as durable before it is
	drift            float64
	faults           time.Duration // until when there are any
	calm             time.Duration // how long the cluster may take to settle afterwards
	every            time.Duration // mean time between faults
	weights          [faultKinds]int
	loss, dup, late  float64 // of messages
	between          float64 // probability of a crash between two effects
	nap              float64 // probability of a pause after a lease was asked for
	rest             bool    // groups that are quiet are not called
	order            bool    // what is not late or twice arrives in order, as over a connection
	think            time.Duration
	vacuum           bool // volumes are compacted
	limits           limits
}

// sim is one run: a whole cluster, its clients and its checks, in one goroutine.
type sim struct {
	rng     *rand.Rand
	plan    simPlan
	bugs    bugs
	now     time.Duration // of nobody's clock
	seq     uint64
	timers  timers
	events  []event
	free    []int32 // slots of events
	servers []*simServer
	volumes []*simVolume
	blocked [][]time.Duration // [from][to]: until when nothing gets through
	slow    [][]time.Duration // [from][to]: until when everything takes long
	pipe    [][]time.Duration // [from][to]: when the latest of what keeps its order arrives
	masters time.Duration     // until when they are away
	calm    bool
	open    int       // operations of clients that are not settled
	trace   io.Writer // nil: none
	stats   simStats
}

type simStats struct {
	events, commits, acked, refused, unknown, reads, timeouts, epochs, crashes, excused, vacuumed, resets, recoveries int
}

// simFailure is what a check panics with.
type simFailure struct{ text string }

func (s *sim) fail(format string, args ...any) {
	s.logf("FAILED: "+format, args...)
	panic(simFailure{fmt.Sprintf(format, args...)})
}

func (s *sim) logf(format string, args ...any) {
	if s.trace != nil {
		fmt.Fprintf(s.trace, "%10.4f ", s.now.Seconds())
		fmt.Fprintf(s.trace, format+"\n", args...)
	}
}

// event is something that happens; on a server, if it is not nil, that lives in the same life still.
type event struct {
	server *simServer
	life   uint64 // 0: of whichever life
	do     func()
}

// timer is when an event happens. Of two at a time the one made first comes first.
type timer struct {
	at   time.Duration
	seq  uint64
	slot int32 // of the event
}

func (t *timer) before(o *timer) bool { return t.at < o.at || t.at == o.at && t.seq < o.seq }

// timers is a heap. It holds no pointers, which is what makes it fast.
type timers []timer

func (h *timers) push(t timer) {
	*h = append(*h, t)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s[i].before(&s[up]) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *timers) pop() timer {
	s := *h
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		next := i
		for k := 2*i + 1; k <= 2*i+2 && k < last; k++ {
			if s[k].before(&s[next]) {
				next = k
			}
		}
		if next == i {
			return first
		}
		s[i], s[next] = s[next], s[i]
		i = next
	}
}

func (s *sim) after(d time.Duration, do func()) { s.at(s.now+d, event{do: do}) }

// on runs something on a server, unless that crashes before; while the server is paused it waits.
func (s *sim) on(x *simServer, d time.Duration, do func()) {
	s.at(s.now+d, event{server: x, life: x.life, do: do})
}

func (s *sim) at(t time.Duration, e event) {
	slot := int32(len(s.events))
	if n := len(s.free); n > 0 {
		slot = s.free[n-1]
		s.free = s.free[:n-1]
		s.events[slot] = e
	} else {
		s.events = append(s.events, e)
	}
	s.seq++
	s.timers.push(timer{t, s.seq, slot})
}

// step lets the next event happen.
func (s *sim) step() {
	t := s.timers.pop()
	s.now = t.at
	e := s.events[t.slot]
	s.events[t.slot] = event{}
	s.free = append(s.free, t.slot)
	s.happen(e)
}

func (s *sim) happen(e event) {
	s.stats.events++
	if x := e.server; x != nil {
		if !x.up || e.life != 0 && e.life != x.life {
			return
		}
		if x.paused > s.now {
			s.at(x.paused, e)
			return
		}
	}
	e.do()
}

func (s *sim) chance(p float64) bool { return p > 0 && s.rng.Float64() < p }

// between draws a time, short ones as likely as long ones on a logarithmic scale of five octaves.
func (s *sim) upTo(most time.Duration) time.Duration {
	d := time.Duration(s.rng.Int64N(int64(most))) + 1
	return d >> s.rng.IntN(6)
}

// transmit brings something from a server to another, or to the masters, in the way of a bad network.
func (s *sim) transmit(from, to int, deliver func()) {
	times := 1
	if s.chance(s.plan.dup) && !s.calm {
		times = 2
	}
	for i := range times {
		inOrder := s.plan.order && i == 0
		d := 100*time.Microsecond + s.upTo(3*time.Millisecond)
		if !s.calm {
			if from >= 0 && to >= 0 {
				if s.slow[from][to] > s.now {
					d += time.Duration(s.rng.Int64N(int64(simLease)))
				}
				if s.blocked[from][to] > s.now {
					if s.chance(0.8) {
						continue
					}
					d += s.blocked[from][to] - s.now // the connection lasts longer than what ails it
				}
			}
			if s.chance(s.plan.loss) {
				continue
			}
			if s.chance(s.plan.late) {
				d += s.upTo(2 * simLease)
				inOrder = false
			}
		}
		if inOrder && from >= 0 && to >= 0 {
			s.pipe[from][to] = max(s.pipe[from][to], s.now+d)
			d = s.pipe[from][to] - s.now
		}
		s.after(d, deliver)
	}
}

// simRun runs a seed and returns what went wrong, or "".
func simRun(seed uint64, planted bugs, trace io.Writer) (failure string, stats simStats) {
	s := &sim{rng: rand.New(rand.NewPCG(seed, 0x5eed)), bugs: planted, trace: trace}
	defer func() {
		stats = s.stats
		switch f := recover().(type) {
		case nil:
		case simFailure:
			failure = f.text
		default:
			panic(fmt.Sprintf("seed %d: %v", seed, f))
		}
	}()
	s.build()
	for s.now < s.plan.faults {
		s.step()
	}
	s.heal()
	for deadline := s.now + s.plan.calm; !s.settled(); {
		if s.now > deadline {
			s.fail("not settled after %v without faults: %s", s.plan.calm, s.unsettled())
		}
		for until := s.now + simLease/6; s.now < until; {
			s.step()
		}
	}
	s.compare()
	return "", s.stats
}

// build chooses a plan and makes the cluster.
func (s *sim) build() {
	r := s.rng
	p := &s.plan
	*p = simPlan{
		servers: 1 + r.IntN(7), volumes: 1 + r.IntN(4), sync: r.IntN(3) > 0,
		faults: 8*time.Second + time.Duration(r.Int64N(int64(16*time.Second))), calm: 30 * simLease,
		every: 200*time.Millisecond + s.upTo(8*time.Second), think: 30*time.Millisecond + s.upTo(400*time.Millisecond),
		limits: limits{shipment: 5 + r.Int64N(300), window: 50 + r.Int64N(1000), near: r.Int64N(100)},
	}
	if r.IntN(2) == 0 {
		p.servers = 2 + r.IntN(3)
	}
	if r.IntN(3) > 0 {
		p.drift = 0.02
	}
	for _, f := range []*float64{&p.loss, &p.dup, &p.late} {
		if r.IntN(2) == 0 {
			*f = 0.1 * r.Float64() * r.Float64()
		}
	}
	if r.IntN(3) == 0 {
		p.between = 0.002
	}
	for i := range p.weights {
		p.weights[i] = max(0, r.IntN(8)-3)
	}
	if p.weights[faultPause] > 0 {
		p.nap = 0.02
	}
	p.rest = r.IntN(2) == 0
	p.order = r.IntN(4) > 0
	p.vacuum = r.IntN(2) == 0
	if !p.order { // servers talk over connections: what is out of order is rare, and may take its time
		p.limits.shipment += p.limits.window / 4
	}
	for i := range p.servers {
		for _, links := range []*[][]time.Duration{&s.blocked, &s.slow, &s.pipe} {
			*links = append(*links, make([]time.Duration, p.servers))
		}
		s.servers = append(s.servers, &simServer{
			sim: s, index: i, id: Server(rune('a' + i)), copies: make([]*simCopy, p.volumes),
		})
	}
	for i := range p.volumes {
		v := &simVolume{index: i, id: blob.VolumeID(i + 1)}
		s.volumes = append(s.volumes, v)
		c := Config{Epoch: 1, Copies: 1 + r.IntN(min(3, p.servers))}
		if p.servers > 1 && c.Copies == 1 && r.IntN(3) > 0 {
			c.Copies = 2
		}
		for _, x := range r.Perm(p.servers)[:c.Copies] {
			c.Members = append(c.Members, s.servers[x].id)
		}
		c.Primary = c.Members[r.IntN(c.Copies)]
		v.config = c
		for _, x := range s.servers {
			if c.Has(x.id) {
				x.copies[i] = &simCopy{server: x, volume: v, log: make([]byte, LogStart), synced: LogStart,
					kept: Durable{Config: c, Complete: 1}, saved: true}
			}
		}
	}
	s.logf("plan %+v", *p)
	for _, x := range s.servers {
		x.start(true)
	}
	for _, v := range s.volumes {
		s.logf("volume %d: %+v", v.id, v.config)
		s.client(v)
	}
	s.fault()
	s.order()
}
