// Package live runs the state machine of package replication on real logs, connections and clocks: it is a volume
// server's part in the groups of servers that hold its volumes.
//
// It owns the leases of the server, a Replica for each replicated volume, and the clock that drives them. Each
// Replica is called by its volume's committer only, for what is to be appended and what comes over the network; so a
// group needs no lock, and a shipment that arrives is written, synced and acknowledged together with all others that
// wait. Who has read small ones or acknowledgements takes the committer's place for them if it rests.
//
//	n := live.New(live.Config{Self: "10.0.0.1:8080", Links: links, Masters: masters, ...})
//	go n.Run(ctx)
//	r, err := n.Open(volume, nil)              // what was kept over a restart
//	if !r.Readable() && !r.Await(within) ...   // before an answer to a read, after it was looked up
//
// A group that has nothing to do rests: the clock does not wake its committer while the promises of its members hold.
// So what thousands of idle volumes cost is a look at two words of each at every tick.
package live

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/replication"
	"weed/replication/link"
	"weed/storage"
)

// Masters is who decides on configurations.
type Masters interface {
	// Configure asks for a configuration in the place of that of the epoch before. It returns the one in force then,
	// be it that or another; after an error it may come about or not.
	Configure(ctx context.Context, v blob.VolumeID, c replication.Config) (replication.Config, error)
}

// Links carries messages to other servers. They may be lost.
type Links interface {
	Send(to replication.Server, frames ...link.Frame)
}

// Config tells how a Node works.
type Config struct {
	Self    replication.Server
	Links   Links
	Masters Masters
	Logger  *slog.Logger
	// Lease is how long servers promise each other to wait before they leave each other out; 3 s by default.
	Lease time.Duration
	// GiveUp bounds how long an operation waits to be settled; 10 s by default.
	GiveUp time.Duration
	// Changed is told of volumes of which the masters should hear.
	Changed func(blob.VolumeID)
}

// ticksPerLease is how often a group looks at its clock.
const ticksPerLease = 10

// Node is one server's part in all its groups.
type Node struct {
	cfg    Config
	born   time.Time
	leases *replication.Leases
	asking chan struct{} // bounds the calls to masters under way

	mu       sync.Mutex // guards changes of replicas
	replicas atomic.Pointer[map[blob.VolumeID]*Replica]

	readyMu sync.Mutex                        // guards ready
	ready   map[replication.Server][]*Replica // those that have got something since the last Flush

	callsMu sync.Mutex      // guards the beginning of calls against their end
	ctx     context.Context // of calls to masters
	stop    context.CancelFunc
	calls   sync.WaitGroup
}

// New makes a node. Life is that of this process: see replication.NewLeases.
func New(cfg Config) *Node {
	if cfg.Lease <= 0 {
		cfg.Lease = 3 * time.Second
	}
	if cfg.GiveUp <= 0 {
		cfg.GiveUp = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, born: time.Now(), asking: make(chan struct{}, 64), ready: map[replication.Server][]*Replica{}}
	n.leases = replication.NewLeases(uint64(n.born.UnixNano()), replication.Times{Lease: cfg.Lease}, n.now())
	n.replicas.Store(&map[blob.VolumeID]*Replica{})
	n.ctx, n.stop = context.WithCancel(context.Background())
	return n
}

// now is never zero, which stands for never in package replication.
func (n *Node) now() replication.Instant { return time.Since(n.born) + 1 }

// Run lets time pass until ctx ends. Then it tells the others that this server serves nothing any more.
func (n *Node) Run(ctx context.Context) {
	tick := time.NewTicker(n.cfg.Lease / ticksPerLease)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			n.callsMu.Lock()
			n.stop()
			n.callsMu.Unlock()
			n.calls.Wait()
			return
		case <-tick.C:
		}
		now := n.now()
		for _, r := range *n.replicas.Load() {
			if r.needsTick(now) && !r.v.Post(r.tick) {
				r.retire()
			}
		}
		n.sendLetters(n.leases.Tick(now))
	}
}

// call runs a function beside the caller, unless Run is about to end.
func (n *Node) call(f func()) {
	n.callsMu.Lock()
	defer n.callsMu.Unlock()
	if n.ctx.Err() == nil {
		n.calls.Go(f)
	}
}

// Release tells the other servers that this one serves nothing any more, so that they need not wait for its
// promises to run out. No volume may be read or written here after that.
func (n *Node) Release() {
	for _, r := range *n.replicas.Load() {
		r.released.Store(true)
	}
	n.sendLetters(n.leases.Release())
}

func (n *Node) sendLetters(letters []replication.Letter) {
	for i := range letters {
		n.cfg.Links.Send(letters[i].To, link.Frame{Lease: &letters[i].Message})
	}
}

// Open makes the replica of a volume: a new one of a group whose first configuration is given, or one that goes on
// from what it kept. One that kept nothing is outside its group until a primary brings it to its log. A volume that
// has a replica keeps it, until it is closed.
func (n *Node) Open(v *storage.Volume, first *replication.Config) (*Replica, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.Replica(v.ID()); r != nil && r.v == v && !r.retired.Load() {
		return r, nil
	}
	r := &Replica{node: n, v: v, id: v.ID()}
	kept, err := decodeKept(v.Kept())
	if err != nil {
		return nil, fmt.Errorf("what volume %d kept of its replication: %w", r.id, err)
	}
	fresh := first != nil
	if fresh {
		kept = replication.Durable{Config: *first, Complete: first.Epoch,
			History: replication.History{{Epoch: first.Epoch, Start: replication.LogStart}}}
	}
	if err := r.start(kept, fresh); err != nil {
		return nil, err
	}
	n.replace(func(m map[blob.VolumeID]*Replica) { m[r.id] = r })
	return r, nil
}

// Close forgets the replica of a volume that is about to be deleted.
func (n *Node) Close(id blob.VolumeID) {
	if r := n.Replica(id); r != nil {
		n.forget(id, r)
	}
}

// forget drops a replica, if it is still that of its volume.
func (n *Node) forget(id blob.VolumeID, r *Replica) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Replica(id) != r {
		return
	}
	n.replace(func(m map[blob.VolumeID]*Replica) { delete(m, id) })
	r.leave()
}

func (n *Node) replace(change func(map[blob.VolumeID]*Replica)) {
	old := *n.replicas.Load()
	next := make(map[blob.VolumeID]*Replica, len(old)+1)
	for id, r := range old {
		next[id] = r
	}
	change(next)
	n.replicas.Store(&next)
}

// Replica returns the replica of a volume, nil if it is not replicated or not here.
func (n *Node) Replica(id blob.VolumeID) *Replica { return (*n.replicas.Load())[id] }

// maxQuickBytes bounds the appends that are taken by who reads them from the connection.
const maxQuickBytes = 64 << 10

// Flush is called after the frames that came together: the groups that they are for take them now, on the caller's
// goroutine as far as that is quick.
func (n *Node) Flush(from replication.Server) {
	n.readyMu.Lock()
	ready := n.ready[from]
	n.ready[from] = nil
	n.readyMu.Unlock()
	for _, r := range ready {
		r.v.Help(r.inTask)
	}
}

// Receive takes a frame from another server. It is a link.Handler.
func (n *Node) Receive(from replication.Server, f link.Frame) {
	if f.Lease != nil {
		letters := n.leases.Receive(from, *f.Lease, n.now(), func(id blob.VolumeID) {
			if r := n.Replica(id); r != nil {
				r.uncovered(from)
			}
		})
		n.sendLetters(letters)
		f.Release()
		return
	}
	if r := n.Replica(f.Volume); r != nil {
		m := &f.Message
		quick := m.Kind == replication.MsgAck || m.Kind == replication.MsgAppend && len(m.Bytes) <= maxQuickBytes
		switch first := r.deliver(from, f); {
		case first && quick:
			n.readyMu.Lock()
			n.ready[from] = append(n.ready[from], r)
			n.readyMu.Unlock()
		case first:
			r.v.Post(r.inTask) // a closed volume takes no messages
		}
		return
	}
	f.Release()
}
