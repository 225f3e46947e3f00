package replication

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"weed/internal/blob"
)

// Times are the durations of the protocol.
type Times struct {
	// Lease is how long a promise holds. Whoever holds one takes it to be shorter by a sixteenth, which is how
	// much clocks may go apart in that time.
	Lease Instant
}

func (t Times) margin() Instant { return t.Lease / 16 }

// LeaseKind tells what a LeaseMessage is.
type LeaseKind uint8

// What servers tell each other about leases.
const (
	LeaseAsk     LeaseKind = iota + 1 // asks for a promise for the volumes of Hash, or of Claims if that is there
	LeaseAnswer                       // answers the ask of the same Seq
	LeaseRelease                      // the sender serves nothing any more and holds itself to no promise
)

// Claim says in which epoch the sender takes part in a volume whose members it and the receiver are.
type Claim struct {
	Volume blob.VolumeID `json:"volume"`
	Epoch  uint64        `json:"epoch"`
}

// LeaseMessage goes between two servers, for all the volumes that they share.
type LeaseMessage struct {
	Kind LeaseKind `json:"kind"`
	Life uint64    `json:"life"`           // of the sender: see NewLeases
	Seq  uint64    `json:"seq"`            // of an ask, and of its answer
	Hash uint64    `json:"hash,omitempty"` // of the claims
	// Listed says that Claims is there, though it may be empty.
	Listed bool    `json:"listed,omitempty"`
	Claims []Claim `json:"claims,omitempty"`
	// Granted is the promise; Except are the volumes to which it does not apply. Without Granted the claims
	// must be listed first.
	Granted bool            `json:"granted,omitempty"`
	Except  []blob.VolumeID `json:"except,omitempty"`
}

// Letter is a LeaseMessage to be sent.
type Letter struct {
	To      Server
	Message LeaseMessage
}

// Leases is what a server has promised to the others, and they to it: for Lease from the answer on, the one who
// promised asks for no configuration that leaves the other out, of any volume in which both take part in the same
// epoch. Methods may be called concurrently.
type Leases struct {
	times   Times
	started Instant
	life    uint64
	limits  limits
	bugs    bugs

	mu    sync.Mutex // guards peers and all but granted of each
	peers map[Server]*pair
}

// pair is the relation to one other server.
type pair struct {
	granted atomic.Int64  // when the newest ask that was granted was made, 0 if none was
	life    atomic.Uint64 // the latest of the other that was heard of
	gone    atomic.Bool   // the other has said that it serves nothing any more

	claims   map[blob.VolumeID]uint64
	hash     uint64
	seq      uint64
	asked    [8]ask // the latest, by Seq modulo their number
	lastAsk  Instant
	due      bool    // an ask is to be made at once
	list     bool    // the next ask lists the claims
	promised Instant // until when what was promised to the other holds
	released uint64  // life of the other that has ended
}

type ask struct {
	seq uint64
	at  Instant
}

// NewLeases makes the leases of a server that starts now. The numbers of its lives ascend from start to start
// by more than it can make asks.
func NewLeases(life uint64, times Times, now Instant) *Leases {
	return &Leases{life: life, times: times, started: now, limits: defaultLimits, peers: map[Server]*pair{}}
}

func (l *Leases) pair(s Server) *pair {
	p := l.peers[s]
	if p == nil {
		p = &pair{claims: map[blob.VolumeID]uint64{}, seq: l.life}
		l.peers[s] = p
	}
	return p
}

// hashClaim mixes the bits of a claim; the hash of a set is the exclusive or.
func hashClaim(v blob.VolumeID, epoch uint64) uint64 {
	x := uint64(v)*0x9e3779b97f4a7c15 ^ epoch*0xc2b2ae3d27d4eb4f
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// claim notes that this server and another take part in an epoch of a volume; epoch 0 takes it back.
func (l *Leases) claim(v blob.VolumeID, epoch uint64, with Server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pair(with)
	old, had := p.claims[v]
	if had {
		p.hash ^= hashClaim(v, old)
		delete(p.claims, v)
	}
	if epoch != 0 {
		p.claims[v] = epoch
		p.hash ^= hashClaim(v, epoch)
		p.due = p.due || old != epoch
	}
}

// alive notes that another server was heard of in a life: one that has said that it stops has started again.
func (l *Leases) alive(s Server, life uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pair(s)
	p.life.Store(max(life, p.life.Load()))
	if life > p.released {
		p.gone.Store(false)
	}
}

// with returns the pair of a server, for reads without the lock.
func (l *Leases) with(s Server) *pair {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pair(s)
}

// covers reports whether the other server's promise holds now, for what this one claimed before after.
func (p *pair) covers(after, now Instant, times Times) bool {
	granted := Instant(p.granted.Load())
	return granted > after && now < granted+times.Lease-times.margin()
}

// promisedUntil returns until when promises to a server hold, those of an earlier life of this one included.
func (l *Leases) promisedUntil(s Server) Instant {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pair(s)
	if p.gone.Load() {
		return 0 // it serves nothing any more, whatever was promised to it
	}
	return max(p.promised, l.started+l.times.Lease)
}

// Tick asks those for promises whose turn it is.
func (l *Leases) Tick(now Instant) (letters []Letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, p := range l.peers {
		if len(p.claims) > 0 && (p.due || p.lastAsk == 0 || now-p.lastAsk >= l.times.Lease/3) {
			letters = append(letters, Letter{s, p.ask(l.life, now)})
		}
	}
	inOrder(letters)
	return letters
}

// inOrder sorts letters, so that the same events give the same ones.
func inOrder(letters []Letter) {
	slices.SortFunc(letters, func(a, b Letter) int { return strings.Compare(string(a.To), string(b.To)) })
}

func (p *pair) ask(life uint64, now Instant) LeaseMessage {
	p.seq++
	p.lastAsk, p.due = now, false
	p.asked[p.seq%uint64(len(p.asked))] = ask{p.seq, now}
	m := LeaseMessage{Kind: LeaseAsk, Life: life, Seq: p.seq, Hash: p.hash, Listed: p.list}
	if p.list {
		for v, epoch := range p.claims {
			m.Claims = append(m.Claims, Claim{v, epoch})
		}
		slices.SortFunc(m.Claims, func(a, b Claim) int { return int(int64(a.Volume) - int64(b.Volume)) })
		p.list = false
	}
	return m
}

// Receive takes a message. For volumes in which the sender does not cover this server it calls uncovered, which
// has an effect on reads (Group.Uncovered), before what was granted for the others counts.
func (l *Leases) Receive(from Server, m LeaseMessage, now Instant, uncovered func(blob.VolumeID)) (reply []Letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pair(from)
	if m.Life < p.life.Load() && m.Kind != LeaseAnswer {
		return nil // it has restarted since, and may have been promised something
	}
	p.life.Store(max(m.Life, p.life.Load()))
	switch m.Kind {
	case LeaseAsk:
		if m.Life > p.released {
			p.gone.Store(false)
			return []Letter{{from, l.answer(p, m, now)}}
		}
	case LeaseRelease:
		if m.Life > p.released {
			p.released, p.promised = m.Life, 0
			p.granted.Store(0)
			p.gone.Store(true)
		}
	case LeaseAnswer:
		asked := p.asked[m.Seq%uint64(len(p.asked))]
		if asked.seq != m.Seq || m.Seq == 0 {
			return nil // older than the last few, or to an earlier life
		}
		if !m.Granted {
			p.list = true
			return []Letter{{from, p.ask(l.life, now)}}
		}
		l.mu.Unlock() // groups claim under locks of their own
		for _, v := range m.Except {
			uncovered(v)
		}
		l.mu.Lock()
		p.due = p.due || len(m.Except) > 0 // soon they may agree
		at := asked.at
		if l.bugs.leaseFromAnswer {
			at = now
		}
		if m.Life > p.released {
			p.granted.Store(max(p.granted.Load(), int64(at)))
		}
	}
	return nil
}

func (l *Leases) answer(p *pair, m LeaseMessage, now Instant) LeaseMessage {
	a := LeaseMessage{Kind: LeaseAnswer, Life: l.life, Seq: m.Seq}
	switch {
	case m.Listed:
		for _, c := range m.Claims {
			if p.claims[c.Volume] != c.Epoch {
				a.Except = append(a.Except, c.Volume)
			}
		}
	case m.Hash != p.hash:
		return a
	}
	a.Granted = true
	p.promised = max(p.promised, now+l.times.Lease)
	return a
}

// Release says to all that this server serves nothing any more.
func (l *Leases) Release() (letters []Letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.peers {
		letters = append(letters, Letter{s, LeaseMessage{Kind: LeaseRelease, Life: l.life}})
	}
	inOrder(letters)
	return letters
}
