package state

import (
	"encoding/binary"
	"math"

	"weed/internal/blob"
)

// Token makes a CreateVolumes that is proposed again the same one. It is drawn at random; zero is no token.
type Token [16]byte

// StateChange asks for a volume of an epoch to go from one state to another.
type StateChange struct {
	ID       blob.VolumeID
	Epoch    uint64
	From, To VolumeState
}

// GroupChange asks for a new group in the place of that of an epoch.
type GroupChange struct {
	ID    blob.VolumeID
	Epoch uint64 // of the group to be replaced; the new one gets the next
	Group
}

// Check returns ErrMalformed for a change that would have a Reconfigure refused as a whole.
func (c *GroupChange) Check() error {
	_, err := parse(Reconfigure([]GroupChange{*c}).Bytes())
	return err
}

// CreateVolumes makes one volume for each group, in state Creating and epoch 1. Each group has as many
// members as the placement asks for, all of them with a server record. Result: the ids, in the order of the
// groups; ErrNoServer or ErrExhausted, and no volume is made. A repetition with the token of one of the last
// MaxTokens of these commands gets that one's ids, and ErrMalformed if that was for another number of volumes.
func CreateVolumes(token Token, layout Layout, groups []Group) Command[VolumeIDRange] {
	b := append(head(kindCreateVolumes, 64+64*len(groups)), token[:]...)
	b = appendLayout(b, &layout)
	b = binary.BigEndian.AppendUint32(b, uint32(len(groups)))
	for i := range groups {
		b = appendGroup(b, &groups[i])
	}
	return Command[VolumeIDRange]{b}
}

// AdoptVolumes takes in volumes that servers hold and the state does not know, as they are given: Writable or
// ReadOnly, with an epoch of at least 1 that must lie above any that a server reports for it. Members have
// server records; there may be more or fewer of them than the placement asks for. Ids go up to MaxAdopted.
//
// Outcomes: *ConflictError for an id that is in use by another record, ErrRemoved, ErrNoServer,
// ErrExhausted; nil for a record that is there just as it is given.
func AdoptVolumes(volumes []Volume) Command[[]Outcome] {
	b := binary.BigEndian.AppendUint32(head(kindAdoptVolumes, 16+80*len(volumes)), uint32(len(volumes)))
	for i := range volumes {
		v := &volumes[i]
		b = binary.BigEndian.AppendUint32(b, uint32(v.ID))
		b = append(appendLayout(b, &v.Layout), byte(v.State))
		b = binary.BigEndian.AppendUint64(b, v.Epoch)
		b = appendGroup(b, &v.Group)
	}
	return Command[[]Outcome]{b}
}

// SetStates moves each volume from one state to another if it is in that state and epoch, along the arrows of
// VolumeState. One that is in state To and that epoch already is left so, which makes a repetition harmless;
// a repetition behind somebody else's change back to From takes effect like a new wish.
//
// Outcomes: *ConflictError, ErrNoVolume, ErrRemoved.
func SetStates(changes []StateChange) Command[[]Outcome] {
	b := binary.BigEndian.AppendUint32(head(kindSetStates, 4+14*len(changes)), uint32(len(changes)))
	for _, c := range changes {
		b = binary.BigEndian.AppendUint32(b, uint32(c.ID))
		b = binary.BigEndian.AppendUint64(b, c.Epoch)
		b = append(b, byte(c.From), byte(c.To))
	}
	return Command[[]Outcome]{b}
}

// Reconfigure gives each volume a new group and the next epoch, if its epoch is the one given and it is not
// Deleting. A group that is in force in the next epoch already is left so: a repetition.
//
// Outcomes: *ConflictError with the record of whoever was faster, ErrNoVolume, ErrRemoved, ErrNoServer.
func Reconfigure(changes []GroupChange) Command[[]Outcome] {
	b := binary.BigEndian.AppendUint32(head(kindReconfigure, 4+72*len(changes)), uint32(len(changes)))
	for i := range changes {
		b = binary.BigEndian.AppendUint32(b, uint32(changes[i].ID))
		b = binary.BigEndian.AppendUint64(b, changes[i].Epoch)
		b = appendGroup(b, &changes[i].Group)
	}
	return Command[[]Outcome]{b}
}

// RemoveVolumes takes out volumes that are Deleting. Their ids are remembered and never used again. One that was
// removed before is no error.
//
// Outcomes: *ConflictError for a volume in another state, ErrNoVolume.
func RemoveVolumes(ids []blob.VolumeID) Command[[]Outcome] {
	b := binary.BigEndian.AppendUint32(head(kindRemoveVolumes, 4+4*len(ids)), uint32(len(ids)))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint32(b, uint32(id))
	}
	return Command[[]Outcome]{b}
}

// PutServer writes a server's record, unless it is there just so. Result: the record in force; ErrExhausted.
func PutServer(s Server) Command[*Server] {
	b := appendText(head(kindPutServer, 64), string(s.ID))
	b = appendText(appendText(appendText(b, s.PublicURL), s.DataCenter), s.Rack)
	return Command[*Server]{binary.BigEndian.AppendUint32(b, s.Slots)}
}

// RemoveServer takes out a server's record. Result: whether there was one; ErrServerInUse while the server
// is a member of a volume, so that who looks a volume up always finds its members' records.
func RemoveServer(id ServerID) Command[bool] {
	return Command[bool]{appendText(head(kindRemoveServer, 64), string(id))}
}

// SetDraining says whether a server is to be emptied, which stays so until it is taken back or the server's record
// goes. Result: on; ErrNoServer.
func SetDraining(id ServerID, on bool) Command[bool] {
	b := appendText(head(kindSetDraining, 64), string(id))
	if on {
		return Command[bool]{append(b, 1)}
	}
	return Command[bool]{append(b, 0)}
}

// head begins a command that will have about so many bytes.
func head(k kind, size int) []byte { return append(make([]byte, 0, 2+size), commandVersion, byte(k)) }

// appendText writes a text of up to 2^16-1 bytes. What is longer is cut, to a length that is above every
// limit as well, and so refused.
func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

func appendLayout(b []byte, l *Layout) []byte {
	b = appendText(b, l.Collection)
	count, unit := l.TTL.Bytes()
	return append(b, l.Placement.DataCenters, l.Placement.Racks, l.Placement.Servers, count, unit, l.DiskVersion)
}

// appendGroup writes a group. Of too many members so many are written that they are still too many.
func appendGroup(b []byte, g *Group) []byte {
	b = appendText(b, string(g.Primary))
	members := g.Members[:min(len(g.Members), math.MaxUint8)]
	b = append(b, byte(len(members)))
	for _, member := range members {
		b = appendText(b, string(member))
	}
	return b
}
