package state

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"weed/internal/blob"
)

// Limits. A command that goes beyond one is ErrMalformed, or ErrExhausted where the state has grown to it.
const (
	MaxBatch        = 4096    // volumes in one command
	MaxMembers      = 32      // servers that hold one volume
	MaxTextBytes    = 255     // of an address, a URL, the name of a data center or rack
	MaxCommandBytes = 2 << 20 // of a command
	MaxVolumes      = 1 << 24 // in the state
	MaxServers      = 1 << 17 // in the state
	MaxEpoch        = 1 << 62
	// MaxAdopted is the highest id that a volume may be adopted with: ids given out go on above it.
	MaxAdopted blob.VolumeID = 1 << 31
	// MaxTokens is the number of CreateVolumes whose tokens are remembered, the latest ones.
	MaxTokens = 4096
)

// ServerID names a volume server: the host:port that it advertises.
type ServerID string

// Server is the record of a volume server. It is never changed; a change makes a new one.
type Server struct {
	ID         ServerID
	PublicURL  string // host:port that clients use
	DataCenter string
	Rack       string
	Slots      uint32 // volumes that it may hold
}

// VolumeState says what a volume is there for.
type VolumeState uint8

// A volume is made, used, deleted: Creating -> Writable <-> ReadOnly -> Deleting, from each of them to
// Deleting, and nothing leads back.
const (
	Creating VolumeState = iota + 1 // its members are told to make their copies
	Writable                        // it takes blobs, as far as its members can
	ReadOnly                        // it takes no new blobs
	Deleting                        // its members are told to delete their copies
)

var stateNames = [...]string{Creating: "creating", Writable: "writable", ReadOnly: "readonly", Deleting: "deleting"}

// String returns the state's name: creating, writable, readonly, deleting.
func (s VolumeState) String() string {
	if !s.valid() {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

func (s VolumeState) valid() bool { return s >= Creating && s <= Deleting }

// mayBecome reports whether a volume may go from s to the state to.
func (s VolumeState) mayBecome(to VolumeState) bool {
	switch to {
	case Writable:
		return s == Creating || s == ReadOnly
	case ReadOnly:
		return s == Creating || s == Writable
	case Deleting:
		return s == Creating || s == Writable || s == ReadOnly
	}
	return false
}

// Layout is what is the same for all copies of a volume, for all its life.
type Layout struct {
	Collection  string
	Placement   blob.Placement
	TTL         blob.TTL
	DiskVersion uint8 // of the needles: 1, 2, 3
}

// Copies returns how many servers should hold a volume of this layout.
func (l *Layout) Copies() int { return l.Placement.Copies() }

// Group is who holds a volume: the primary, and all members, the primary among them. In a record the primary
// comes first and the others follow in ascending order; in a command the order does not matter.
type Group struct {
	Primary ServerID
	Members []ServerID
}

// Volume is the record of a volume. It is never changed, nor may a reader change what Members holds; a change
// makes a new one.
type Volume struct {
	ID blob.VolumeID
	Layout
	State VolumeState
	Epoch uint64 // of the group: every change of the group adds one
	Group
}

func (l *Layout) check() error {
	if err := blob.CheckCollection(l.Collection); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if l.Placement != blob.PlacementFromByte(l.Placement.Byte()) {
		return fmt.Errorf("%w: placement %+v", ErrMalformed, l.Placement)
	}
	if l.TTL != blob.TTLFromBytes(l.TTL.Bytes()) {
		return fmt.Errorf("%w: ttl %+v", ErrMalformed, l.TTL)
	}
	if l.DiskVersion < 1 || l.DiskVersion > 3 {
		return fmt.Errorf("%w: disk version %d", ErrMalformed, l.DiskVersion)
	}
	return nil
}

// arrange checks a group and puts its members, which it may reorder, into the order of a record.
func (g *Group) arrange() error {
	if len(g.Members) == 0 || len(g.Members) > MaxMembers {
		return fmt.Errorf("%w: %d members, at least one and at most %d", ErrMalformed, len(g.Members), MaxMembers)
	}
	first := slices.Index(g.Members, g.Primary)
	if first < 0 {
		return fmt.Errorf("%w: primary %q is not among the members %q", ErrMalformed, g.Primary, g.Members)
	}
	g.Members[0], g.Members[first] = g.Members[first], g.Members[0]
	slices.Sort(g.Members[1:])
	for _, member := range g.Members {
		if err := member.check(); err != nil {
			return err
		}
	}
	return g.checkOrder()
}

// checkOrder checks that the members stand in the order of a record, each of them once.
func (g *Group) checkOrder() error {
	for i, member := range g.Members {
		if i > 0 && member == g.Primary || i > 1 && member <= g.Members[i-1] {
			return fmt.Errorf("%w: member %q twice or out of order", ErrMalformed, member)
		}
	}
	return nil
}

func (g *Group) equal(other *Group) bool { return slices.Equal(g.Members, other.Members) } // primary first

func (id ServerID) check() error {
	if id == "" {
		return fmt.Errorf("%w: a server without address", ErrMalformed)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return fmt.Errorf("%w: server address %q", ErrMalformed, id)
		}
	}
	return checkText(string(id))
}

func (s *Server) check() error {
	if err := s.ID.check(); err != nil {
		return err
	}
	for _, text := range [...]string{s.PublicURL, s.DataCenter, s.Rack} {
		if err := checkText(text); err != nil {
			return err
		}
	}
	return nil
}

func checkText(text string) error {
	if len(text) > MaxTextBytes {
		return fmt.Errorf("%w: %d bytes of text, at most %d", ErrMalformed, len(text), MaxTextBytes)
	}
	for i, r := range text {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return fmt.Errorf("%w: text %q at byte %d", ErrMalformed, text, i)
		}
	}
	return nil
}

// ConflictError says that a compare-and-swap found something else than it expected, or that an id is in use.
// It matches ErrConflict.
type ConflictError struct {
	Current *Volume // the record in force
}

func (e *ConflictError) Error() string {
	v := e.Current
	return fmt.Sprintf("volume %d is %s in epoch %d with primary %s and members %s",
		v.ID, v.State, v.Epoch, v.Primary, v.Members)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Outcome is what came of one volume of a command.
type Outcome struct {
	Volume *Volume // the record in force; that which was taken out for RemoveVolumes; nil if there is none
	// Err is nil if the volume is as it was asked for, be it by this command or already before. Else nothing
	// changed for this volume: *ConflictError, ErrNoVolume, ErrRemoved, ErrNoServer, ErrExhausted.
	Err error
}

// Only returns the outcome of a command for one volume, in the place of that of Do or Result:
//
//	v, err := state.Only(state.Do(ctx, store, state.Reconfigure(change)))
func Only(outcomes []Outcome, err error) (*Volume, error) {
	if err != nil {
		return nil, err
	}
	if len(outcomes) != 1 {
		return nil, fmt.Errorf("%d outcomes instead of one", len(outcomes))
	}
	return outcomes[0].Volume, outcomes[0].Err
}
