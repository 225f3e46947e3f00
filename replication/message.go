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

// EffectKind tells what an Effect is.
type EffectKind uint8

// What a group asks its caller to do. Effects are to be carried out in order; those on the disk, but for
// EffectWrite, before the next one is. If one on the disk fails, those after it are left, and Failed is called.
const (
	// EffectSend sends Message to To. It may be lost, if it is not lost for ever: the connection breaks, say.
	EffectSend EffectKind = iota + 1
	// EffectWrite appends Bytes at Offset. When they are durable, as the policy says, Persisted is to be called
	// with Cuts, or Failed if they can't be made so. What is written later may be persisted together with it.
	EffectWrite
	// EffectCut cuts the log to Offset, durably, with all that lies before. That is below an earlier
	// EffectCommit only if a machine without -fsync=always has lost what was acknowledged: what was made visible
	// is read again from the log then.
	EffectCut
	// EffectReset makes the log an empty one that begins at Offset, durably, with Origin. What is under way here may be
	// in the log all the same that follows.
	EffectReset
	// EffectSave replaces what was kept by Durable, durably.
	EffectSave
	// EffectCommit makes what lies below Offset visible, and on the primary answers whoever waits for it.
	EffectCommit
	// EffectConfigure asks the masters to replace the configuration of the epoch before that of Config by
	// Config. Whatever comes of it goes to Configured, or ConfigureFailed.
	EffectConfigure
	// EffectReady says that the group may take proposals, as far as Writable says.
	EffectReady
)

// Effect is one thing to do.
type Effect struct {
	Kind    EffectKind
	To      Server
	Message Message
	Offset  int64
	Bytes   []byte
	Cuts    int
	Origin  Origin
	Sync    bool // EffectWrite: durable means synced, whatever the policy
	Durable Durable
	Config  Config
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
