package live

import (
	"context"
	"encoding/json"
	"slices"

	"weed/replication"
	"weed/replication/link"
	"weed/storage"
)

// carryOut does what the group asks for.
func (r *Replica) carryOut(effects []replication.Effect) {
	r.stir()
	var failure error
	for i := range effects {
		e := &effects[i]
		if r.told && writes(e.Kind) {
			continue // as after a crash, until it is restarted
		}
		if failure == nil { // what follows may depend on what was not done
			failure = r.do(e)
		}
		r.unsaved = r.unsaved || failure != nil && e.Kind == replication.EffectSave
	}
	r.publish()
	if failure != nil {
		r.fail(failure)
	}
}

// writes reports whether an effect changes what is on the disk.
func writes(kind replication.EffectKind) bool {
	switch kind {
	case replication.EffectWrite, replication.EffectCut, replication.EffectReset, replication.EffectSave:
		return true
	}
	return false
}

func (r *Replica) do(e *replication.Effect) (err error) {
	switch e.Kind {
	case replication.EffectSend:
		r.node.cfg.Links.Send(e.To, link.Frame{Volume: r.id, Message: e.Message})
	case replication.EffectWrite:
		r.log.CatchUp(!r.status.Load().InSync)
		err = r.log.Write(e.Offset, e.Bytes)
		if e.Sync {
			r.log.Sync()
		}
		r.group.Whole(r.log.Whole())
	case replication.EffectCut:
		err = r.log.Cut(e.Offset)
		r.group.Whole(r.log.Whole())
	case replication.EffectReset:
		err = r.log.Reset(storage.Origin(e.Origin))
		r.group.Whole(r.log.Whole())
	case replication.EffectSave:
		var text []byte
		if text, err = json.Marshal(e.Durable); err == nil {
			err = r.log.Save(text, slices.ContainsFunc(e.Durable.Config.Members, r.isOther))
		}
		if c := &e.Durable.Config; len(c.Members) < c.Copies {
			r.log.Lonely()
		}
		if e.Durable.Config.Primary != r.node.cfg.Self {
			r.log.Outlived()
		}
	case replication.EffectCommit:
		r.log.Commit(e.Offset)
	case replication.EffectConfigure:
		r.configure(e.Config)
	}
	return err // EffectReady needs nothing: the committer asks again after each task
}

func (r *Replica) isOther(s replication.Server) bool { return s != r.node.cfg.Self }

// configure asks the masters, beside the committer.
func (r *Replica) configure(c replication.Config) {
	if r.asking {
		return
	}
	r.asking = true
	n := r.node
	n.call(func() {
		select {
		case n.asking <- struct{}{}:
		case <-n.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(n.ctx, n.cfg.GiveUp/2)
		inForce, err := n.cfg.Masters.Configure(ctx, r.id, c)
		cancel()
		<-n.asking
		r.v.Post(func() {
			r.asking = false
			if err != nil {
				n.cfg.Logger.Warn("masters did not change who holds a volume: it is tried again", "volume", r.id, "epoch", c.Epoch, "err", err)
				r.carryOut(r.group.ConfigureFailed(n.now()))
				return
			}
			r.carryOut(r.group.Configured(inForce, n.now()))
		})
	})
}

// publish shows the state of the group to others, and the masters what is new for them.
func (r *Replica) publish() {
	old := r.status.Load()
	if old != nil && r.group.Stands(old) {
		return
	}
	s := r.group.Status()
	r.status.Store(&s)
	if old == nil || old.Config.Epoch == s.Config.Epoch && old.InSync == s.InSync {
		return
	}
	r.node.cfg.Logger.Info("replication", "volume", r.id, "epoch", s.Config.Epoch, "primary", s.Config.Primary,
		"members", s.Config.Members, "inSync", s.InSync)
	if r.node.cfg.Changed != nil {
		r.node.cfg.Changed(r.id)
	}
}
