package state

import (
	"encoding/binary"
	"fmt"

	"weed/internal/blob"
)

// operation is a command that was read and found sound in itself.
type operation interface {
	// apply obeys the command, under the machine's lock, and returns its result, or an error if it is
	// refused and nothing has changed.
	apply(m *Machine) any
}

type (
	leaseKeys         struct{ count uint64 }
	raiseKeys         struct{ above blob.Key }
	allocateVolumeIDs struct{ count uint32 }
	raiseVolumeID     struct{ above blob.VolumeID }
	setClusterID      struct{ id ClusterID }

	createVolumes struct {
		token  Token
		layout Layout
		groups []Group
	}
	adoptVolumes  struct{ volumes []Volume }
	setStates     struct{ changes []StateChange }
	reconfigure   struct{ changes []GroupChange }
	removeVolumes struct{ ids []blob.VolumeID }
	putServer     struct{ server Server }
	removeServer  struct{ id ServerID }
	setDraining   struct {
		id ServerID
		on bool
	}
)

// parse reads a command and checks all that can be checked without the state. Errors: ErrMalformed, ErrUnknown.
func parse(command []byte) (operation, error) {
	if len(command) < 2 || len(command) > MaxCommandBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(command))
	}
	if command[0] != commandVersion {
		return nil, fmt.Errorf("%w: version %d", ErrUnknown, command[0])
	}
	k, f := kind(command[1]), fields{rest: command[2:]}
	var op operation
	switch k {
	case kindLeaseKeys:
		op = leaseKeys{f.u64()}
	case kindRaiseKeys:
		op = raiseKeys{blob.Key(f.u64())}
	case kindAllocateVolumeIDs:
		op = allocateVolumeIDs{f.u32()}
	case kindRaiseVolumeID:
		op = raiseVolumeID{blob.VolumeID(f.u32())}
	case kindSetClusterID:
		op = setClusterID{ClusterID(f.take(len(ClusterID{})))}
	case kindCreateVolumes:
		op = f.createVolumes()
	case kindAdoptVolumes:
		op = adoptVolumes{batch(&f, f.adoption, func(v *Volume) blob.VolumeID { return v.ID })}
	case kindSetStates:
		op = setStates{batch(&f, f.stateChange, func(c *StateChange) blob.VolumeID { return c.ID })}
	case kindReconfigure:
		op = reconfigure{batch(&f, f.groupChange, func(c *GroupChange) blob.VolumeID { return c.ID })}
	case kindRemoveVolumes:
		op = removeVolumes{batch(&f, f.volumeID, func(id *blob.VolumeID) blob.VolumeID { return *id })}
	case kindPutServer:
		op = f.putServer()
	case kindRemoveServer:
		id := ServerID(f.text())
		f.check(id.check)
		op = removeServer{id}
	case kindSetDraining:
		op = f.setDraining()
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrUnknown, k)
	}
	if f.err == nil && len(f.rest) > 0 {
		f.fail("%d bytes too many", len(f.rest))
	}
	if f.err != nil {
		return nil, fmt.Errorf("kind %d: %w", k, f.err)
	}
	return op, nil
}

// fields reads one field after the other. After the first error all fields are zero.
type fields struct {
	rest []byte
	err  error // ErrMalformed
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	f.rest = nil
}

// check fails with what a check finds, unless something was wrong before.
func (f *fields) check(check func() error) {
	if f.err != nil {
		return
	}
	if f.err = check(); f.err != nil {
		f.rest = nil
	}
}

var zeros [16]byte

// take returns the next n bytes; n is at most 16 unless it is known that they are there.
func (f *fields) take(n int) []byte {
	if len(f.rest) < n {
		f.fail("cut short")
		return zeros[:n]
	}
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) u8() uint8   { return f.take(1)[0] }
func (f *fields) u16() uint16 { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return binary.BigEndian.Uint64(f.take(8)) }

func (f *fields) text() string {
	n := int(f.u16())
	if n > MaxTextBytes || n > len(f.rest) {
		f.fail("text of %d bytes", n)
		return ""
	}
	return string(f.take(n))
}

func (f *fields) volumeID() blob.VolumeID {
	id := blob.VolumeID(f.u32())
	if id == 0 {
		f.fail("volume 0")
	}
	return id
}

func (f *fields) epoch(last uint64) uint64 {
	epoch := f.u64()
	if epoch == 0 || epoch > last {
		f.fail("epoch %d", epoch)
	}
	return epoch
}

func (f *fields) layout() Layout {
	l := Layout{Collection: f.text()}
	b := f.take(6)
	l.Placement = blob.Placement{DataCenters: b[0], Racks: b[1], Servers: b[2]}
	l.TTL = blob.TTL{Count: b[3], Unit: blob.TTLUnit(b[4])}
	l.DiskVersion = b[5]
	f.check(l.check)
	return l
}

func (f *fields) group() Group {
	g := Group{Primary: ServerID(f.text())}
	n := int(f.u8())
	if n > MaxMembers {
		f.fail("%d members, at most %d", n, MaxMembers)
		return g
	}
	g.Members = make([]ServerID, n)
	for i := range g.Members {
		g.Members[i] = ServerID(f.text())
	}
	f.check(g.arrange)
	return g
}

// count reads the length of a batch.
func (f *fields) count() int {
	n := f.u32()
	if n == 0 || n > MaxBatch {
		f.fail("%d volumes, at least one and at most %d", n, MaxBatch)
		return 0
	}
	return int(n)
}

// batch reads a list whose elements concern different volumes.
func batch[E any](f *fields, element func() E, id func(*E) blob.VolumeID) []E {
	n := f.count()
	list := make([]E, 0, n)
	seen := make(map[blob.VolumeID]struct{}, n)
	for range n {
		list = append(list, element())
		if f.err != nil {
			return nil
		}
		of := id(&list[len(list)-1])
		if seen[of] = struct{}{}; len(seen) < len(list) {
			f.fail("volume %d twice", of)
			return nil
		}
	}
	return list
}

func (f *fields) createVolumes() createVolumes {
	op := createVolumes{token: Token(f.take(len(Token{}))), layout: f.layout()}
	if op.token == (Token{}) {
		f.fail("zero token")
	}
	op.groups = make([]Group, f.count())
	for i := range op.groups {
		g := f.group()
		if f.err == nil && len(g.Members) != op.layout.Copies() {
			f.fail("%d members for placement %s", len(g.Members), op.layout.Placement)
		}
		if f.err != nil {
			return createVolumes{}
		}
		op.groups[i] = g
	}
	return op
}

func (f *fields) adoption() Volume {
	v := Volume{ID: f.volumeID(), Layout: f.layout(), State: VolumeState(f.u8()), Epoch: f.epoch(MaxEpoch), Group: f.group()}
	if v.ID > MaxAdopted {
		f.fail("volume %d, ids go up to %d", v.ID, MaxAdopted)
	}
	if v.State != Writable && v.State != ReadOnly {
		f.fail("adoption of a volume that is %s", v.State)
	}
	return v
}

func (f *fields) stateChange() StateChange {
	c := StateChange{ID: f.volumeID(), Epoch: f.epoch(MaxEpoch), From: VolumeState(f.u8()), To: VolumeState(f.u8())}
	if !c.From.mayBecome(c.To) {
		f.fail("%s does not become %s", c.From, c.To)
	}
	return c
}

func (f *fields) groupChange() GroupChange {
	return GroupChange{ID: f.volumeID(), Epoch: f.epoch(MaxEpoch - 1), Group: f.group()}
}

func (f *fields) putServer() putServer {
	s := Server{ID: ServerID(f.text()), PublicURL: f.text(), DataCenter: f.text(), Rack: f.text(), Slots: f.u32()}
	f.check(s.check)
	return putServer{s}
}

func (f *fields) setDraining() setDraining {
	op := setDraining{id: ServerID(f.text())}
	f.check(op.id.check)
	on := f.u8()
	if on > 1 {
		f.fail("draining %d", on)
	}
	op.on = on == 1
	return op
}
