// Package topology holds what a master knows about its cluster: the tree of data centers, racks and
// servers, the volume copies that the servers report, and which volumes may take new blobs. It decides
// where a new volume goes and which volume takes the next blob.
//
// It is pure: no I/O, no goroutines, no clock but the times passed in, and the only chance in it comes
// from Config.Seed. It refuses copies that are none of the volume of their id, which are strays: on a server
// that is no member of a volume's Group, or, without one, of another collection than the first that was
// reported. It never places a volume against its placement code: a placement is honoured or refused.
//
// Invariants:
//   - A server's free slots are its slots less its copies and its reservations, never below zero.
//   - A volume is writable only while it has all its copies, each below the size limit, none read-only, all in
//     sync in the epoch of its record and none on a server that is being drained, and is not bound as one that is
//     closed. Only writable volumes are picked.
//   - The copies of a bound volume are on its members and of its layout, all others are strays.
//   - Of the writable volumes of a layout (collection, placement, ttl) few are active, and only active
//     ones are picked: each directory of a server that holds a writable volume holds an active one, and
//     no more are active than there are such directories. Puts that arrive together then share the
//     volumes' group commits. A volume that leaves is followed by the next of its directories.
//   - A heartbeat that arrives twice changes nothing the second time.
//
// Use:
//
//	tree := topology.New(topology.Config{SizeLimitBytes: 30000 << 20, Pulse: 5 * time.Second})
//	out, err := tree.Heartbeat(now, &heartbeat)          // as servers report
//	target, err := tree.Pick(key, topology.Preference{}) // ErrNoWritable: time to grow
//	plans, err := tree.Reserve(key, topology.Preference{}, 0)
//	for _, plan := range plans {
//		// order a volume with a fresh id from every server of plan.Servers, then
//		tree.Settle(now, plan, infos) // or tree.Release(plan) when an order failed
//	}
//	tree.Bind(id, group)                                 // who holds a volume, as the masters' records say
//	gone := tree.Expire(now)                             // once in a while
package topology

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"weed/internal/blob"
)

// The kinds of failure that callers branch on.
var (
	// ErrNoWritable says that no volume of the layout takes blobs, at the place asked for.
	ErrNoWritable = errors.New("no writable volumes")
	// ErrNoFreeSlots says that no server has a free slot, at the place asked for.
	ErrNoFreeSlots = errors.New("no free volumes left")
	// ErrCannotPlace says that there are free slots, but not where the placement code wants them.
	ErrCannotPlace = errors.New("not enough servers for the placement")
	// ErrUnknownDataCenter, ErrUnknownRack and ErrUnknownNode say that a preference names none that is here.
	ErrUnknownDataCenter = errors.New("unknown data center")
	ErrUnknownRack       = errors.New("unknown rack")
	ErrUnknownNode       = errors.New("unknown data node")
	// ErrBadHeartbeat says that a heartbeat does not name its server.
	ErrBadHeartbeat = errors.New("malformed heartbeat")
)

// Names of the places of servers that name none.
const (
	DefaultDataCenter = "DefaultDataCenter"
	DefaultRack       = "DefaultRack"
)

// expiryPulses is the number of pulses after which a silent server is taken for gone.
const expiryPulses = 3

// crowdedPercent is the share of the size limit from which a volume counts as crowded.
const crowdedPercent = 90

// Config holds a Tree's settings. The zero value means the defaults.
type Config struct {
	SizeLimitBytes uint64        // a volume of this size takes no more blobs; 30000 MiB
	Pulse          time.Duration // between two heartbeats of a server; 5 s
	Seed           uint64        // of the choice between equally good servers
	BoundOnly      bool          // a copy of a volume that is not bound is a stray, instead of making one known
	// Render, if set, is called once for each Target, under the tree's lock; it must not call the tree. What
	// it returns is kept in Target.Rendered.
	Render func(*Target) []byte
}

func (c Config) withDefaults() Config {
	if c.SizeLimitBytes == 0 {
		c.SizeLimitBytes = 30000 << 20
	}
	if c.Pulse <= 0 {
		c.Pulse = 5 * time.Second
	}
	return c
}

// LayoutKey names a layout: the volumes that are interchangeable for a put.
type LayoutKey struct {
	Collection string
	Placement  blob.Placement
	TTL        blob.TTL
}

// Preference narrows a choice to a data center, a rack, a server; "" is no wish. A rack without a data
// center is looked for in all of them.
type Preference struct {
	DataCenter string
	Rack       string
	DataNode   string // URL of the server
}

// IsZero reports whether nothing is asked for.
func (p Preference) IsZero() bool { return p == Preference{} }

// Location says where a server is. It never changes; a server that moves gets a new one.
type Location struct {
	URL        string // host:port, the server's name in the cluster
	PublicURL  string // host:port that clients use
	DataCenter string
	Rack       string
}

// Target is a volume to put blobs into, as it was when it became active. It never changes and may be
// kept, though the volume may be full or gone when it is used.
type Target struct {
	ID        blob.VolumeID
	Locations []*Location // the primary first
	Rendered  []byte      // what Config.Render made of it
}

// Tree is the whole topology. Its methods are safe for concurrent use.
type Tree struct {
	cfg Config

	mu          sync.RWMutex // guards everything below; taken before layoutsMu and layout.mu
	rng         *rand.Rand
	dataCenters map[string]*dataCenter
	nodes       map[string]*node // by URL
	volumes     map[blob.VolumeID]*volume
	mortal      map[blob.VolumeID]*volume  // those of a ttl
	strays      map[blob.VolumeID][]*stray // copies that are none of the volume of their id
	silent      map[string]time.Time       // when a server that expired was heard of last, by URL
	draining    map[string]bool            // URLs of servers that get nothing new, here or not
	area                                   // sums over all data centers

	present sync.Map // URL -> *Location of all nodes

	layoutsMu sync.RWMutex // so that Pick need not wait for a heartbeat
	layouts   map[LayoutKey]*layout
}

// New returns an empty tree.
func New(cfg Config) *Tree {
	cfg = cfg.withDefaults()
	return &Tree{
		cfg:         cfg,
		rng:         rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)),
		dataCenters: map[string]*dataCenter{},
		nodes:       map[string]*node{},
		volumes:     map[blob.VolumeID]*volume{},
		mortal:      map[blob.VolumeID]*volume{},
		strays:      map[blob.VolumeID][]*stray{},
		silent:      map[string]time.Time{},
		draining:    map[string]bool{},
		layouts:     map[LayoutKey]*layout{},
	}
}

// About is what is known of a volume beside where it is.
type About struct {
	Collection string
	Writable   bool // it takes blobs
}

// Lookup appends the servers that hold a volume to dst, the primary first. ok is false, and dst as it was,
// when nobody holds the volume.
func (t *Tree) Lookup(id blob.VolumeID, dst []*Location) (locations []*Location, about About, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v := t.volumes[id]
	if v == nil || len(v.copies) == 0 {
		return dst, About{}, false
	}
	return v.appendLocations(dst), About{v.layout.key.Collection, v.writable}, true
}

// Counts are the sums of a tree.
type Counts struct {
	Servers, Volumes, Copies int
	Max, Free                int // slots
}

// Counts returns the sums of the tree.
func (t *Tree) Counts() Counts {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Counts{Servers: len(t.nodes), Volumes: len(t.volumes), Copies: t.copies, Max: t.max, Free: t.free}
}
