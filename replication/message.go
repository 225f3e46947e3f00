package replication

// Kind tells what a Message is.
type Kind uint8

// Messages between the servers of a group. All carry the configuration's epoch that the sender is in.
const (
	// MsgConfig tells the sender's configuration. Who has a newer one answers with that.
	MsgConfig Kind = iota + 1
	// MsgHello is sent by a member that waits to be brought to the primary's log. Its Round is that in which it has given up
	// its own, so that another one must begin; 0 if it has not.
	MsgHello
	// MsgSync is sent by the primary of Config: tell me your log. It begins a round with the receiver.
	MsgSync
	// MsgReport answers MsgSync or MsgQuery with the sender's Length and History. A server that was made primary,
	// and is not complete, sends it to the others, so that one of them takes over.
	MsgReport
	// MsgAlign: cut the log to Offset and take over History. With an Origin, begin the log anew with that, at Offset.
	MsgAlign
	// MsgAppend carries the bytes of the primary's log from Offset on, and its commit point. Without bytes it
	// only tells that. Its Length is the offset up to which the log is to be durable before it is acknowledged,
	// whatever the receiver's policy; 0 leaves that to the policy.
	MsgAppend
	// MsgAck tells up to which Length the sender's log is durable.
	MsgAck
	// MsgGap answers a MsgAppend at Offset: bytes from Length on are missing before.
	MsgGap
	// MsgResign says that the sender serves nothing in this epoch any more and can't go on: leave it out.
	MsgResign
	// MsgQuery is sent by a primary that has restarted: tell me your log, before I ask for a new epoch.
	MsgQuery
)

// Message is what servers of a group tell each other.
type Message struct {
	Kind  Kind   `json:"kind"`
	Epoch uint64 `json:"epoch"`
	// Round counts the times that the primary began to bring the receiver to its log, in this epoch. Life tells
	// apart the receiver's lives: an answer carries the sender's, and what is sent on it carries it back.
	Round   uint64  `json:"round,omitempty"`
	Life    uint64  `json:"life,omitempty"`
	Config  *Config `json:"config,omitempty"`
	History History `json:"history,omitempty"`
	// Origin of a report is that of the sender's log, of an append below where the primary's log was compacted that
	// log's: it is what those bytes belong to.
	Origin    *Origin `json:"origin,omitempty"`
	Complete  uint64  `json:"complete,omitempty"` // the epoch, if the sender is complete; of an append: if all members are
	Offset    int64   `json:"offset,omitempty"`
	Length    int64   `json:"length,omitempty"`
	Committed int64   `json:"committed,omitempty"`
	// Bytes of an append. In a message to be sent they are left out: they are the log's from Offset on, Size.
	Bytes []byte `json:"-"`
	Size  int64  `json:"size,omitempty"`
}

// bugs are mistakes that tests make on purpose, to see that the simulator finds them.
type bugs struct {
	commitEarly     bool // commit before all members have acknowledged
	leaseFromAnswer bool // count a lease from when its answer arrives
	keepTail        bool // do not cut the log of a member that comes back
	putBelowCopies  bool // take puts with a copy missing
	keepOld         bool // do not begin a log anew that lacks what was compacted away
	ackUnwritten    bool // acknowledge what the disk did not take
}
