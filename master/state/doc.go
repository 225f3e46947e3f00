// Package state is the replicated state of the masters: what may never be lost or given out twice. Every
// master holds a copy, changed only by the commands of the Raft log, in its order. The package does no I/O,
// reads no clock and draws no random numbers, so the same log gives the same state everywhere.
//
//	machine := state.New()
//	store, err := raftstore.Open(cfg, machine)
//	...
//	keys, err := state.Do(ctx, store, state.LeaseKeys(10_000)) // keys.First … keys.Last are this leader's
//	if errors.Is(err, state.ErrExhausted) {
//		...
//	}
//	id, ok := machine.ClusterID()
//
// It owns
//   - the sequence of needle keys: 1 to MaxKey, leased in blocks, each key leased at most once;
//   - the volume ids: 1 to 2^32-1, each given out at most once;
//   - the cluster's id: set once, it lets a volume server tell this cluster from another.
//
// # Commands
//
// Integers are big-endian. A command is one version byte, one kind byte and the fields of its kind, with
// nothing behind them.
//
//	version 1
//	kind  fields             command             result
//	01    count u64          LeaseKeys           KeyRange
//	02    above u64          RaiseKeys           Key, the highest one not to be leased any more
//	03    count u32          AllocateVolumeIDs   VolumeIDRange
//	04    above u32          RaiseVolumeID       VolumeID, the highest one not to be given out any more
//	05    id 16 bytes        SetClusterID        ClusterID in force
//
// A command that cannot be obeyed changes nothing and results in an error: ErrMalformed, ErrUnknown,
// ErrExhausted. New records come as new kinds; a kind's fields never change, they get a new version. All
// masters must know a kind before the first one proposes it, since one that does not would let the state
// of the others go on without its own.
//
// The outcome of a proposal may be unknown, so every command may be given again: a block that was leased
// to nobody is a gap in the sequence, nothing else, and the other commands do nothing the second time.
//
// # Snapshot
//
//	"WSTA"  version u8 = 1  section …  end
//	section: kind u8, length u32, length bytes
//	end:     00, length 4, CRC-32C of everything before the section
//
//	kind  content of version 1
//	01    highest key leased u64
//	02    highest volume id given out u32
//	03    cluster id, 16 bytes; absent while unset
//
// Each kind occurs at most once, in ascending order, and the end is the end of the stream. A reader refuses
// a kind that it does not know: to leave it out would be to lose state.
package state
