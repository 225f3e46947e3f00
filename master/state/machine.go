package state

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"weed/internal/blob"
)

// Machine is one master's copy of the state. Its methods may be called concurrently.
type Machine struct {
	volumes  atomic.Pointer[table]    // of live, for Volume
	servers  atomic.Pointer[sync.Map] // of live, for Server
	view     atomic.Pointer[View]     // of this revision, nil while nobody has asked for it
	revision atomic.Uint64

	mu      sync.RWMutex // guards what follows
	live    *live
	touched bool          // by the command that is being applied
	changed chan struct{} // closed by the next change; nil while nobody waits
}

// live is the state with what commands need besides. Only the present has that, views do not.
type live struct {
	records
	tokens map[Token]growth     // of growths
	known  map[ServerID]*member // of servers
	public *sync.Map            // *Server of each server by ServerID, for those who have no lock
	// free are the numbers of servers that were removed, spare the lowest one never used.
	free  []uint32
	spare uint32
}

// member is a server as volumes refer to it. The number stands for it in records.held, so that no strings
// need be compared there; it is no part of the state, other masters have other ones.
type member struct {
	*Server
	number uint32
}

// records is the state itself. A copy of it is a frozen one if edit grows before the next change.
type records struct {
	lastKey    blob.Key      // highest key leased
	lastVolume blob.VolumeID // highest volume id given out
	cluster    ClusterID     // zero while unset

	edit        uint64 // under which tables, trees and indexes may be changed in place
	volumes     *table
	count       int                     // of volumes
	collections index[string]           // volumes by collection
	held        index[uint32]           // volumes by the number of a member
	servers     tree[ServerID, *member] // every member of a volume is here
	draining    []ServerID              // servers to be emptied, in order; replaced, never changed
	removed     idSet                   // volumes removed
	growths     []growth                // the last MaxTokens CreateVolumes, oldest first; only ever appended to
}

// growth is what a CreateVolumes resulted in.
type growth struct {
	token Token
	ids   VolumeIDRange
}

// New returns the state of a cluster that has not been told anything yet.
func New() *Machine {
	m := &Machine{live: newLive()}
	m.servers.Store(m.live.public)
	return m
}

func newLive() *live {
	return &live{tokens: map[Token]growth{}, known: map[ServerID]*member{}, public: &sync.Map{}}
}

// LastKey returns the highest needle key ever leased, 0 if none was.
func (m *Machine) LastKey() blob.Key {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.live.lastKey
}

// LastVolumeID returns the highest volume id ever given out, 0 if none was.
func (m *Machine) LastVolumeID() blob.VolumeID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.live.lastVolume
}

// ClusterID returns the cluster's id, false while it has none.
func (m *Machine) ClusterID() (ClusterID, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.live.cluster, m.live.cluster != ClusterID{}
}

// Volume returns the record of a volume, false if there is none. It takes no lock. While a command for
// several volumes is being applied it may find some of them changed and others not yet; a View does not.
func (m *Machine) Volume(id blob.VolumeID) (*Volume, bool) {
	v := find(m.volumes.Load(), id)
	return v, v != nil
}

// Server returns the record of a server, false if there is none. It takes no lock.
func (m *Machine) Server(id ServerID) (*Server, bool) {
	if at, ok := m.servers.Load().Load(id); ok {
		return at.(*Server), true
	}
	return nil, false
}

// Revision counts the changes of the state, in this process: it starts at 0 and says nothing to another
// master. What is read after it is at least as new.
func (m *Machine) Revision() uint64 { return m.revision.Load() }

// Changed returns a channel that is closed by the next change. Take the channel first, then the View or
// Revision: nothing is missed.
func (m *Machine) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

// Apply obeys one command of the log. It returns the command's result, or an error if the command was
// refused, in which case nothing has changed.
func (m *Machine) Apply(command []byte) any {
	op, err := parse(command)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	result := op.apply(m)
	if m.touched {
		m.touched = false
		m.announce()
	}
	return result
}

// announce makes a change known.
func (m *Machine) announce() {
	m.volumes.Store(m.live.volumes)
	m.servers.Store(m.live.public)
	m.view.Store(nil)
	m.revision.Add(1)
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

func (op leaseKeys) apply(m *Machine) any {
	r := m.live
	if op.count == 0 {
		return fmt.Errorf("%w: a lease of no keys", ErrMalformed)
	}
	if op.count > uint64(MaxKey-r.lastKey) {
		return fmt.Errorf("%w: %d keys asked for, %d left", ErrExhausted, op.count, MaxKey-r.lastKey)
	}
	first := r.lastKey + 1
	r.lastKey += blob.Key(op.count)
	m.touched = true
	return KeyRange{First: first, Last: r.lastKey}
}

func (op raiseKeys) apply(m *Machine) any {
	if r := m.live; op.above > r.lastKey && op.above <= MaxKey {
		r.lastKey = op.above
		m.touched = true
	}
	return m.live.lastKey
}

func (op allocateVolumeIDs) apply(m *Machine) any {
	if op.count == 0 {
		return fmt.Errorf("%w: no volume ids asked for", ErrMalformed)
	}
	ids, err := m.allocate(op.count)
	if err != nil {
		return err
	}
	return ids
}

// allocate gives out the next count volume ids.
func (m *Machine) allocate(count uint32) (VolumeIDRange, error) {
	r := m.live
	if left := math.MaxUint32 - uint32(r.lastVolume); count > left {
		return VolumeIDRange{}, fmt.Errorf("%w: %d volume ids asked for, %d left", ErrExhausted, count, left)
	}
	first := r.lastVolume + 1
	r.lastVolume += blob.VolumeID(count)
	m.touched = true
	return VolumeIDRange{First: first, Last: r.lastVolume}, nil
}

func (op raiseVolumeID) apply(m *Machine) any {
	m.raiseVolumeID(op.above)
	return m.live.lastVolume
}

func (m *Machine) raiseVolumeID(above blob.VolumeID) {
	if above > m.live.lastVolume {
		m.live.lastVolume = above
		m.touched = true
	}
}

func (op setClusterID) apply(m *Machine) any {
	none := ClusterID{}
	if op.id == none {
		return fmt.Errorf("%w: zero cluster id", ErrMalformed)
	}
	if m.live.cluster == none {
		m.live.cluster = op.id
		m.touched = true
	}
	return m.live.cluster
}
