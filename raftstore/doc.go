// Package raftstore is Raft behind a small face: propose a command, learn who leads, change the members,
// close. It owns a directory with a log, a vote and snapshots, and the Raft half of a port that is shared
// with HTTP. It knows nothing of what the commands mean; that is the StateMachine's part.
//
//	store, err := raftstore.Open(raftstore.Config{
//		Dir: "m1/raft", ID: "10.0.0.1:9333", Peers: peers, Listener: raftHalf, Logger: log,
//	}, machine)
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	if err := store.Ready(ctx); err != nil { // the leader has applied everything that was ever acknowledged
//		return err
//	}
//	result, err := store.Propose(ctx, command)
//
// # Identity
//
// A server's id is the host:port that it advertises, so the leader's id is where a client is sent. All
// servers of one cluster must be listed by those addresses; "localhost" and other names are resolved when
// ids are IP addresses.
//
// # How a cluster comes to be
//
// A server without peers bootstraps itself. A server with peers asks them first, and what it then does
// depends on whether it has state of its own:
//
//	own state   peers say                                    then
//	none        a cluster with a leader exists               it is taken out of the members if it was one
//	                                                         (it lost its memory), then added
//	none        a cluster exists, but has no leader now      wait
//	none        none exists; a majority of the list, this    bootstrap with exactly that list
//	            server counted, lists the same and is
//	            without state, or bootstrapped after it
//	            had seen this server without state
//	none        anything else                                wait
//	some        a leader exists, and this is no member       ask to be added
//	some        they belong to another cluster               say so, and ask again
//	some        anything else                                nothing: Raft goes on where it stopped
//
// Until it is bootstrapped or added, a server without state refuses all Raft traffic. It would otherwise
// vote, and a voter that forgot what it acknowledged can elect a leader that lacks acknowledged commands.
// The peers list never changes a configuration that exists.
//
// What this cannot tell apart is a majority that is new from a majority of which every member is either new
// or has lost its directory, while all that remember are down. Do not empty directories while others are
// down. A cluster of two cannot replace a lost directory, for want of a majority.
//
// A server that finds itself the only voter, under the address that it had before, rewrites the
// configuration to its new address. Any other change of address without peers is refused with a
// *AddressChangedError that says what to do.
//
// # Invariants
//
//   - A command whose Propose returned nil is durable on a majority and is applied on every server, once
//     per log position, in the same order.
//   - A server alone of a list of two or more never leads a new cluster.
//   - A server that has confirmed a leader (VerifyLeader) elects no other one while the lease runs, a restart
//     between the two included; a leader that hands over gives its lease up before.
//   - ErrOutcomeUnknown is the only error after which a command may be applied; commands must therefore be
//     harmless when proposed again.
//
// # On the wire
//
// A connection begins with DialByte, which tells it from HTTP and which the port's owner consumes, then a
// byte that names the channel:
//
//	00  origin, 16 bytes, then Raft's own RPC (hashicorp/raft's NetworkTransport)
//	01  one request and one reply between servers, JSON lines (admission.go)
//
// The origin is drawn when a cluster is bootstrapped and kept by all who join it. Servers of different
// origins refuse each other's Raft traffic: two clusters that were formed apart, say because a lone master
// was down when its new peers were started, would otherwise overwrite each other's log.
//
// # Goroutines
//
// One accepts connections, one per accepted connection serves it, one follows leadership changes, one
// waits for word of the leader, one asks for admission until this server is a member; the rest are hashicorp/raft's. Close ends and awaits all.
package raftstore
