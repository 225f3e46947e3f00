// Package state is the replicated state of the masters: what may never be lost or given out twice. Every
// master holds a copy, changed only by the commands of the Raft log, in its order. The package does no I/O,
// reads no clock and draws no random numbers, so the same log gives the same state everywhere.
//
//	machine := state.New()
//	store, err := raftstore.Open(cfg, machine)
//	...
//	keys, err := state.Do(ctx, store, state.LeaseKeys(10_000)) // keys.First … keys.Last are this leader's
//	ids, err := state.Do(ctx, store, state.CreateVolumes(token, layout, groups))
//	v, err := state.Only(state.Do(ctx, store, state.Reconfigure([]state.GroupChange{{ID: 7, Epoch: 3, Group: g}})))
//	if lost := (*state.ConflictError)(nil); errors.As(err, &lost) {
//		v = lost.Current // who was faster
//	}
//	v, ok := machine.Volume(7)                     // on every master, without a lock
//	for v := range machine.View().VolumesOn("10.0.0.5:8080") {
//		...
//	}
//
// It owns
//   - the sequence of needle keys: 1 to MaxKey, leased in blocks, each key leased at most once;
//   - the volume ids: 1 to 2^32-1, each given out at most once; that of a removed volume never comes back;
//   - the cluster's id: set once, it lets a volume server tell this cluster from another;
//   - the volumes: layout, state, and the group of servers that holds each, numbered by an epoch;
//   - the volume servers: where they are, how many volumes they may hold, and whether they are to be emptied.
//
// It refuses to know what changes by itself: who is alive, sizes, free slots are soft state of the leader.
//
// Invariants:
//   - An epoch grows by one with each change of a volume's group, so a volume has one group in one epoch.
//   - A group has at least one member, each once, the primary among them, and every member has a server
//     record; so a server that is a member cannot be removed. It is taken out of the groups first, or the
//     volumes that are lost with it are removed.
//   - A volume goes Creating -> Writable <-> ReadOnly -> Deleting, and is removed only from Deleting.
//   - Records never change: a change makes a new one, and readers share them all.
//
// # Reading
//
// Machine.Volume and Machine.Server take no lock. A View is the whole state at one revision, for work on many
// records; View.ChangesSince tells what differs between two at the cost of the difference. So a follower that
// derives something from the state waits on Machine.Changed, takes a View, and looks at the changes only.
//
// The volumes lie in a radix table of ids, everything else in B+ trees. Both copy a node before they change
// it for the first time after a View or Snapshot was taken, which makes taking one a matter of microseconds
// and lets a snapshot be written while commands go on.
//
// # Commands
//
// Integers are big-endian. A command is one version byte, one kind byte and the fields of its kind, with
// nothing behind them. It has up to MaxCommandBytes.
//
//	version 1
//	kind  fields                                        command             result
//	01    count u64                                     LeaseKeys           KeyRange
//	02    above u64                                     RaiseKeys           Key, the highest one not to be leased any more
//	03    count u32                                     AllocateVolumeIDs   VolumeIDRange
//	04    above u32                                     RaiseVolumeID       VolumeID, the highest one not to be given out any more
//	05    id 16 bytes                                   SetClusterID        ClusterID in force
//	06    token 16 bytes, layout, list of group         CreateVolumes       VolumeIDRange
//	07    list of (id u32, layout, state u8,            AdoptVolumes        Outcome of each
//	      epoch u64, group)
//	08    list of (id u32, epoch u64, from u8, to u8)   SetStates           Outcome of each
//	09    list of (id u32, epoch u64, group)            Reconfigure         Outcome of each
//	0a    list of id u32                                RemoveVolumes       Outcome of each
//	0b    address text, public URL text,                PutServer           *Server in force
//	      data center text, rack text, slots u32
//	0c    address text                                  RemoveServer        bool, whether it was there
//	0d    address text, on u8 (0 or 1)                  SetDraining         bool, on
//
//	text    length u16 (up to MaxTextBytes), bytes (UTF-8, no control characters)
//	list    count u32 (1 to MaxBatch), elements; kinds 07 to 0a name each volume at most once
//	layout  collection text, copies in other data centers u8, racks u8, on other servers u8,
//	        ttl count u8, ttl unit u8, disk version u8
//	group   primary text, count u8 (1 to MaxMembers), members text each, in any order
//	state   1 creating, 2 writable, 3 readonly, 4 deleting
//
// A command that cannot be obeyed changes nothing and results in an error: ErrMalformed, ErrUnknown,
// ErrExhausted, ErrNoServer, ErrServerInUse. Kinds 07 to 0a are for many volumes at once, each of which succeeds
// or not by itself, once the command as a whole is sound: see Outcome. New records come as new kinds; a kind's
// fields never change, they get a new version. All masters must know a kind before the first one proposes it,
// since one that does not would let the state of the others go on without its own.
//
// The outcome of a proposal may be unknown, so every command may be given again: a block that was leased
// to nobody is a gap in the sequence, nothing else; CreateVolumes knows its token; the other commands do
// nothing the second time.
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
//	      records in order                                                      ordered by
//	04    collection: name text                                                 name
//	05    server: address, public URL, data center, rack text each, slots u32   address
//	06    volume: id u32, collection u32 (its position in 04), placement u8     id
//	      (as in a superblock), ttl count u8, ttl unit u8, disk version u8,
//	      state u8, epoch u64, count of members u8, member u32 each (its
//	      position in 05), the primary first, the others by address
//	07    removed volume: id u32                                                id
//	08    CreateVolumes: token 16 bytes, first id u32, last id u32              age, the oldest first
//	09    server to be emptied: address text                                    address
//
// Kinds occur in ascending order, each at most once; 04 to 09 are absent while there are no records, and
// occur again for each further 1024 records. Masters that know only some refuse the others. The end is the
// end of the stream. A reader refuses a kind that it does not know: to leave it out would be to lose state. A
// state has exactly one encoding.
package state
