// Package master is the master server: it assigns fids, says where volumes are, makes volumes when none can
// take a blob, and takes the heartbeats of the volume servers.
//
// It owns the HTTP paths of the master, the lease on needle keys, and the orders to volume servers. What may
// never be lost or given out twice lies in package state behind Raft (raftstore); where volumes are and go is
// decided by package topology. Every master answers lookups and redirects from its copy of the records. All else
// a master that does not lead passes on to the one that does, once; while there is none, or it has not caught
// up, it answers 503 with Retry-After at once.
//
// Invariants:
//   - No key is handed out twice: keys come from blocks leased through Raft, and a leader never goes on with a
//     block that it got in an earlier term.
//   - No key is handed out, and no volume id given, that a volume server has reported to be in use: both
//     sequences are raised through Raft before the reporting server's volumes can be assigned to.
//   - A volume is assigned to only while its record says that every member has made its copy, and while all of
//     these are in sync in the epoch on record. Its record comes before the orders to make them and goes after
//     those to delete them, so that whoever leads can finish either.
//   - Who holds a volume changes by compare-and-swap of its epoch only. While a member is alive, a server becomes
//     one when the primary has brought it to its log and asks for it; the master only orders that. Where no member
//     is left holding the volume, the master gives it to one server that holds it.
//   - A copy is deleted only if it was made for a change that is given up, if its volume was moved away from it,
//     or with its volume. All others that nobody needs are strays: listed, and left alone.
//   - Clients are sent only to members of a volume's record.
//   - Of many requests that find a layout without writable volumes one makes volumes, the others wait for it.
//   - The soft state (topology) belongs to one term of leadership. It begins with what the records say, and
//     servers are taken to be there until they are silent, or found to be away; but new volumes go only to those
//     that have reported.
//
// Goroutines: two follow leadership; in a term one keeps the lease, one expires servers, one asks after those that
// have not reported, one takes over changes of records, one
// goes on with deletions, one decides on orphans and strays, one puts the changes of groups that volume servers
// ask for through Raft, one starts repairs and drains; and each growth, key lease, copy and volume order has its own. Run ends and awaits them all.
//
//	m, err := master.New(master.Config{Address: "10.0.0.1:9333", MetaDir: "./m1"}, master.Deps{Logger: log})
//	if err != nil {
//		return err
//	}
//	err = m.Run(ctx) // until ctx ends and requests are answered
package master
