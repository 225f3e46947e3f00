package state

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"weed/internal/blob"
)

var (
	// ErrMalformed says that a command's bytes do not fit its kind.
	ErrMalformed = errors.New("malformed command")
	// ErrUnknown says that a command's version or kind is not known here; it comes from a newer master.
	ErrUnknown = errors.New("unknown command")
	// ErrExhausted says that no keys, no volume ids, or no room for more records are left.
	ErrExhausted = errors.New("exhausted")
	// ErrCorrupt says that a snapshot is damaged or not understood.
	ErrCorrupt = errors.New("corrupt snapshot")
	// ErrConflict is the kind of *ConflictError: somebody else was faster, or the id is in use.
	ErrConflict = errors.New("conflict")
	// ErrNoVolume says that there is no volume of that id, and that none was removed.
	ErrNoVolume = errors.New("no such volume")
	// ErrRemoved says that the volume of that id was removed. The id does not come back.
	ErrRemoved = errors.New("volume was removed")
	// ErrNoServer says that a member has no server record.
	ErrNoServer = errors.New("no such server")
	// ErrServerInUse says that a server is a member of a volume.
	ErrServerInUse = errors.New("server holds volumes")
)

const commandVersion = 1

type kind byte

const (
	kindLeaseKeys         kind = 1
	kindRaiseKeys         kind = 2
	kindAllocateVolumeIDs kind = 3
	kindRaiseVolumeID     kind = 4
	kindSetClusterID      kind = 5
	kindCreateVolumes     kind = 6
	kindAdoptVolumes      kind = 7
	kindSetStates         kind = 8
	kindReconfigure       kind = 9
	kindRemoveVolumes     kind = 10
	kindPutServer         kind = 11
	kindRemoveServer      kind = 12
	kindSetDraining       kind = 13
)

// MaxKey is the last key of the sequence: some are left even when it was raised to blob.MaxKey. Keys above it are never
// leased.
const MaxKey blob.Key = 1<<63 - 1

// KeyRange is a block of needle keys, both ends belong to it.
type KeyRange struct {
	First, Last blob.Key
}

// Len returns the number of keys in the block.
func (r KeyRange) Len() uint64 { return uint64(r.Last-r.First) + 1 }

// VolumeIDRange is a block of volume ids, both ends belong to it.
type VolumeIDRange struct {
	First, Last blob.VolumeID
}

// Len returns the number of ids in the block.
func (r VolumeIDRange) Len() int { return int(r.Last-r.First) + 1 }

// ClusterID tells one cluster from another. The zero value is no id.
type ClusterID [16]byte

// String returns the id as 32 hex digits.
func (id ClusterID) String() string { return hex.EncodeToString(id[:]) }

// Command is an encoded command whose result is an R.
type Command[R any] struct {
	encoded []byte
}

// Bytes returns the command as it goes into the log. The caller may not change them.
func (c Command[R]) Bytes() []byte { return c.encoded }

// Result gives what Machine.Apply returned for this command its type.
func (c Command[R]) Result(applied any) (R, error) {
	var zero R
	switch result := applied.(type) {
	case error:
		return zero, result
	case R:
		return result, nil
	default:
		return zero, fmt.Errorf("command resulted in %T, not %T", applied, zero)
	}
}

// Proposer puts a command into the Raft log and returns what Machine.Apply returned for it, or its error.
// raftstore.Store is one.
type Proposer interface {
	Propose(ctx context.Context, command []byte) (any, error)
}

// Do proposes a command and returns its result. Errors are those of the proposer and of the command. A
// command that is malformed in itself is refused here and does not burden the log.
func Do[R any](ctx context.Context, to Proposer, command Command[R]) (R, error) {
	var zero R
	if _, err := parse(command.Bytes()); err != nil {
		return zero, err
	}
	applied, err := to.Propose(ctx, command.Bytes())
	if err != nil {
		return zero, err
	}
	return command.Result(applied)
}

// LeaseKeys takes the next count keys, at least one, out of the sequence. Given twice it takes two blocks.
// Result: ErrExhausted if fewer are left up to MaxKey.
func LeaseKeys(count uint64) Command[KeyRange] {
	return Command[KeyRange]{binary.BigEndian.AppendUint64(head(kindLeaseKeys, 8), count)}
}

// RaiseKeys makes the sequence go on above a key that was found in use. A key that is lower than the last
// one leased, or that lies outside of the sequence, above MaxKey, changes nothing: it cannot be leased again.
func RaiseKeys(above blob.Key) Command[blob.Key] {
	return Command[blob.Key]{binary.BigEndian.AppendUint64(head(kindRaiseKeys, 8), uint64(above))}
}

// AllocateVolumeIDs takes the next count ids, at least one. Given twice it takes two blocks. Result:
// ErrExhausted if fewer are left.
func AllocateVolumeIDs(count uint32) Command[VolumeIDRange] {
	return Command[VolumeIDRange]{binary.BigEndian.AppendUint32(head(kindAllocateVolumeIDs, 4), count)}
}

// RaiseVolumeID makes the ids go on above one that was found in use; a lower one changes nothing.
func RaiseVolumeID(above blob.VolumeID) Command[blob.VolumeID] {
	return Command[blob.VolumeID]{binary.BigEndian.AppendUint32(head(kindRaiseVolumeID, 4), uint32(above))}
}

// SetClusterID gives the cluster its id, drawn at random by the proposer, unless it has one. Result: the id
// in force from then on, be it this one or an earlier one; ErrMalformed for the zero id.
func SetClusterID(id ClusterID) Command[ClusterID] {
	return Command[ClusterID]{append(head(kindSetClusterID, len(id)), id[:]...)}
}
