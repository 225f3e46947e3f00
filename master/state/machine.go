package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"weed/internal/blob"
)

// Machine is one master's copy of the state. Its methods may be called concurrently.
type Machine struct {
	mu sync.RWMutex // guards records
	records
}

// records is the state itself, the part that a snapshot holds.
type records struct {
	lastKey    blob.Key      // highest key leased
	lastVolume blob.VolumeID // highest volume id given out
	cluster    ClusterID     // zero while unset
}

// New returns the state of a cluster that has not been told anything yet.
func New() *Machine { return &Machine{} }

// LastKey returns the highest needle key ever leased, 0 if none was.
func (m *Machine) LastKey() blob.Key {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lastKey
}

// LastVolumeID returns the highest volume id ever given out, 0 if none was.
func (m *Machine) LastVolumeID() blob.VolumeID {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.lastVolume
}

// ClusterID returns the cluster's id, false while it has none.
func (m *Machine) ClusterID() (ClusterID, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.cluster, m.cluster != ClusterID{}
}

// Apply obeys one command of the log. It returns the command's result, or an error if the command was
// refused, in which case nothing has changed.
func (m *Machine) Apply(command []byte) any {
	k, fields, err := split(command)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch k {
	case kindLeaseKeys:
		return m.leaseKeys(binary.BigEndian.Uint64(fields))
	case kindRaiseKeys:
		return m.raiseKeys(blob.Key(binary.BigEndian.Uint64(fields)))
	case kindAllocateVolumeIDs:
		return m.allocateVolumeIDs(binary.BigEndian.Uint32(fields))
	case kindRaiseVolumeID:
		m.lastVolume = max(m.lastVolume, blob.VolumeID(binary.BigEndian.Uint32(fields)))
		return m.lastVolume
	case kindSetClusterID:
		return m.setClusterID(ClusterID(fields))
	}
	return fmt.Errorf("%w: kind %d", ErrUnknown, k)
}

func (r *records) leaseKeys(count uint64) any {
	if count == 0 {
		return fmt.Errorf("%w: a lease of no keys", ErrMalformed)
	}
	if count > uint64(MaxKey-r.lastKey) {
		return fmt.Errorf("%w: %d keys asked for, %d left", ErrExhausted, count, MaxKey-r.lastKey)
	}
	first := r.lastKey + 1
	r.lastKey += blob.Key(count)
	return KeyRange{First: first, Last: r.lastKey}
}

func (r *records) raiseKeys(above blob.Key) any {
	if above <= MaxKey {
		r.lastKey = max(r.lastKey, above)
	}
	return r.lastKey
}

func (r *records) allocateVolumeIDs(count uint32) any {
	if count == 0 {
		return fmt.Errorf("%w: no volume ids asked for", ErrMalformed)
	}
	if left := math.MaxUint32 - uint32(r.lastVolume); count > left {
		return fmt.Errorf("%w: %d volume ids asked for, %d left", ErrExhausted, count, left)
	}
	first := r.lastVolume + 1
	r.lastVolume += blob.VolumeID(count)
	return VolumeIDRange{First: first, Last: r.lastVolume}
}

func (r *records) setClusterID(id ClusterID) any {
	none := ClusterID{}
	if id == none {
		return fmt.Errorf("%w: zero cluster id", ErrMalformed)
	}
	if r.cluster == none {
		r.cluster = id
	}
	return r.cluster
}
