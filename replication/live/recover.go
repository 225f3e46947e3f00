package live

import (
	"weed/replication"
	"weed/storage"
)

// recover goes back to work when the disk does: once the others go on without this copy, or, if it leads, soon, as there
// may be nobody who could do that in its place.
func (r *Replica) recover() {
	unwritable := storage.CauseDamaged | storage.CauseFiles
	if r.Status().Role != replication.Primary { // who leads needs little room, and deletes go on
		unwritable |= storage.CauseNoSpace
	}
	if !r.failed || r.v.ReadOnly()&unwritable != 0 || r.node.now()-r.failedAt < r.node.cfg.Lease ||
		r.renew && r.Status().Role != replication.Outside {
		return
	}
	r.failedAt = r.node.now()
	done, err := r.restart()
	if err != nil {
		r.node.cfg.Logger.Error("this copy of a volume can't be written yet", "volume", r.id, "err", err)
	}
	if done {
		r.node.cfg.Logger.Info("this copy of a volume can be written again", "volume", r.id)
	}
}

// restart has the group begin anew with what is on the disk, as a restart of the server would.
func (r *Replica) restart() (done bool, err error) {
	if err := r.log.Settle(); err != nil {
		return false, err
	}
	kept, err := decodeKept(r.v.Kept())
	if err != nil {
		return false, err
	}
	effects, done := r.group.Restart(kept, replication.Origin(r.log.Origin()), r.log.Length(), r.log.Whole(), r.node.now())
	if !done {
		return false, nil
	}
	renew := r.renew
	r.failed, r.told, r.unsaved, r.renew = false, false, false, false
	if r.carryOut(effects); r.failed {
		r.renew = renew
		return false, nil
	}
	if renew {
		r.carryOut(r.group.Renew())
	}
	return true, nil
}

// Renew has this copy left out by the others, and fetched anew from them when it is made a member again. It does nothing
// where there is no other.
func (r *Replica) Renew(why error) {
	r.v.Post(func() {
		if !r.alone() {
			r.renew = true
			r.fail(why)
		}
	})
}

// alone reports whether this is the only copy.
func (r *Replica) alone() bool {
	s := r.Status()
	return s.Role == replication.Primary && len(s.Config.Members) == 1
}

func (r *Replica) fail(err error) {
	if !r.failed {
		r.failed, r.failedAt = true, r.node.now()
		r.node.cfg.Logger.Error("this copy of a volume can't go on: the other copies go on without it", "volume", r.id, "err", err)
	}
	r.giveWay()
}

// giveWay tells the group that the log can't be written, as soon as there is another copy to go on with, or it takes for
// kept what is not. Until then it can still be read.
func (r *Replica) giveWay() {
	if r.failed && !r.told && (r.unsaved || !r.alone()) {
		r.told = true
		r.carryOut(r.group.Failed(r.node.now()))
	}
}
