package replication

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

// flush ends a method: it returns the effects.
func (g *Group) flush() []Effect {
	g.publish()
	out := g.out
	g.out = g.out[:0]
	return out
}

func (g *Group) emit(e Effect) { g.out = append(g.out, e) }

func (g *Group) send(to Server, m Message) {
	m.Epoch = g.durable.Config.Epoch
	g.emit(Effect{Kind: EffectSend, To: to, Message: m})
}

// sendConfig compares configurations with another server: who has the older one learns the newer.
func (g *Group) sendConfig(to Server) {
	c := g.durable.Config
	g.send(to, Message{Kind: MsgConfig, Config: &c})
}

func (g *Group) save() { g.emit(Effect{Kind: EffectSave, Durable: g.durable}) }

// cut drops what lies behind an offset. What lies before is durable then, too: nothing else would tell so of what
// was written before the cut and has not been reported.
func (g *Group) cut(to int64) {
	if g.length > to {
		g.length, g.whole, g.persisted, g.committed = to, min(g.whole, to), to, min(g.committed, to)
		g.cuts++
		g.emit(Effect{Kind: EffectCut, Offset: to, Cuts: g.cuts})
	}
}

func (g *Group) commit(to int64) {
	if to > g.committed {
		g.committed = to
		g.emit(Effect{Kind: EffectCommit, Offset: to})
	}
}
