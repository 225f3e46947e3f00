// Package replication keeps the copies of a volume's log identical: PacificA (Lin et al., MSR-TR-2008-25) over
// the append-only log, with leases between pairs of servers for reads.
//
// It owns the rules: who may append, when an append is committed, what a copy that was away must cut and
// fetch, who may serve a read, and when a member may be left out. It does nothing itself: no goroutine, socket,
// disk or clock is in here. Events come in as calls of Group and Leases, with the time; what is to be done goes
// out as effects, which the caller carries out in order. So one goroutine can run whole clusters of it under a
// schedule of faults (see the simulator in the tests), and servers run the very same code.
//
// # Words
//
// A volume's configuration (Config) is its epoch, primary and members, as the masters' records have it; it
// changes by compare-and-swap on the epoch only. The primary appends, all members hold the bytes. History says
// in which epoch which part of a log was written. An offset is committed when the logs of all members reach it,
// durably; what is committed is never cut.
//
// # What must hold
//
//   - Within an epoch only the primary appends, and it never appends two different things at an offset: whatever
//     makes it drop bytes that it has shipped, or forget what it has shipped, ends the epoch first.
//   - An operation is acknowledged after it is committed, and refused with an error after an epoch has begun
//     whose members all lack it. So what failed is nowhere, and what succeeded is everywhere.
//   - A new epoch needs a member whose log is complete: it has all that may have been acknowledged before.
//   - A member serves a read only while each other member has promised to ask for no configuration without it.
//     Who asks for one has therefore waited until its own promises to those left out have run out, and has noted
//     what it asks for, so that it promises them nothing after a restart either. Who has just joined or restarted
//     waits for a lease: for the promises of the members before it, and of its own life before.
//   - A follower is in sync once the primary has said that the epoch has begun: before, another member may have
//     a longer log, and lead the next epoch with that.
//   - A compaction leaves out what was deleted below an offset at which all members agree, and changes no other
//     offset: see Origin. It is a function of the log, so each server does it by itself when it likes, and no
//     epoch, lease or acknowledgement takes part in it. Only who lacks bytes below such an offset, of a log that
//     was compacted in another way than the one it is brought to, begins anew.
//   - Who is told to be primary and has not all that may have been acknowledged, or can't write, begins no epoch
//     but sees to it that another one does.
//
// # Use
//
//	leases := replication.NewLeases(self, replication.Times{Lease: 3 * time.Second})
//	g := replication.NewGroup(7, self, leases, kept, replication.Origin{}, length, fresh, now)
//	for _, effect := range g.Tick(now) { ... }                // every tenth of a lease
//	for _, effect := range g.Receive(from, message, now) { ... }
//	offset, effects, err := g.Propose(n, puts, now)            // on the primary
//	for _, effect := range g.Persisted(cuts, length, now) { ... }
//	if g.Readable(now) { ... }                                 // then look the blob up
//
// An epoch begins at a record's end, which need not be the end of a proposal: a new primary keeps the first
// operations of one and not the last. So whoever waits for operations is answered one by one. A put that a later
// epoch has kept with fewer members than copies has not failed, but does not have every copy.
package replication
