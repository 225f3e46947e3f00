package state

import (
	"fmt"
	"slices"

	"weed/internal/blob"
)

func (op createVolumes) apply(m *Machine) any {
	count := len(op.groups)
	if made, ok := m.live.tokens[op.token]; ok {
		if made.ids.Len() != count {
			return fmt.Errorf("%w: the token stands for %d volumes, not %d", ErrMalformed, made.ids.Len(), count)
		}
		return made.ids
	}
	l := m.live
	if l.count+count > MaxVolumes {
		return fmt.Errorf("%w: %d volumes, at most %d", ErrExhausted, l.count, MaxVolumes)
	}
	for i := range op.groups {
		if err := l.intern(&op.groups[i]); err != nil {
			return err
		}
	}
	ids, err := m.allocate(uint32(count))
	if err != nil {
		return err
	}
	for i, g := range op.groups {
		m.put(nil, &Volume{ID: ids.First + blob.VolumeID(i), Layout: op.layout, State: Creating, Epoch: 1, Group: g})
	}
	l.remember(growth{op.token, ids})
	return ids
}

// remember keeps what a token stands for, and forgets the oldest one when there are too many.
func (l *live) remember(g growth) {
	if len(l.growths) == MaxTokens {
		delete(l.tokens, l.growths[0].token)
		l.growths = l.growths[1:]
	}
	l.growths = append(l.growths, g)
	l.tokens[g.token] = g
}

// outcomes collects what comes of each element of a batch.
func outcomes[E any](batch []E, do func(*E) (*Volume, error)) []Outcome {
	all := make([]Outcome, len(batch))
	for i := range batch {
		all[i].Volume, all[i].Err = do(&batch[i])
	}
	return all
}

// volume returns the record of an id, or why there is none.
func (r *records) volume(id blob.VolumeID) (*Volume, error) {
	if v := find(r.volumes, id); v != nil {
		return v, nil
	}
	if _, removed := r.removed.get(id); removed {
		return nil, ErrRemoved
	}
	return nil, ErrNoVolume
}

func conflict(v *Volume) (*Volume, error) { return v, &ConflictError{Current: v} }

func (op adoptVolumes) apply(m *Machine) any { return outcomes(op.volumes, m.adopt) }

func (m *Machine) adopt(asked *Volume) (*Volume, error) {
	l := m.live
	switch known, err := l.volume(asked.ID); {
	case err == nil && known.Layout == asked.Layout && known.State == asked.State &&
		known.Epoch == asked.Epoch && known.equal(&asked.Group):
		return known, nil
	case err == nil:
		return conflict(known)
	case err == ErrRemoved:
		return nil, err
	}
	if l.count >= MaxVolumes {
		return nil, fmt.Errorf("%w: %d volumes", ErrExhausted, l.count)
	}
	v := *asked
	if err := l.intern(&v.Group); err != nil {
		return nil, err
	}
	m.raiseVolumeID(v.ID)
	return m.put(nil, &v), nil
}

func (op setStates) apply(m *Machine) any { return outcomes(op.changes, m.setState) }

func (m *Machine) setState(c *StateChange) (*Volume, error) {
	v, err := m.live.volume(c.ID)
	switch {
	case err != nil:
		return nil, err
	case v.Epoch == c.Epoch && v.State == c.To:
		return v, nil
	case v.Epoch != c.Epoch || v.State != c.From:
		return conflict(v)
	}
	next := *v
	next.State = c.To
	return m.put(v, &next), nil
}

func (op reconfigure) apply(m *Machine) any { return outcomes(op.changes, m.regroup) }

func (m *Machine) regroup(c *GroupChange) (*Volume, error) {
	v, err := m.live.volume(c.ID)
	switch {
	case err != nil:
		return nil, err
	case v.Epoch == c.Epoch+1 && v.equal(&c.Group):
		return v, nil
	case v.Epoch != c.Epoch || v.State == Deleting:
		return conflict(v)
	}
	if err := m.live.intern(&c.Group); err != nil {
		return v, err
	}
	next := *v
	next.Epoch, next.Group = c.Epoch+1, c.Group
	return m.put(v, &next), nil
}

func (op removeVolumes) apply(m *Machine) any {
	return outcomes(op.ids, func(id *blob.VolumeID) (*Volume, error) { return m.remove(*id) })
}

func (m *Machine) remove(id blob.VolumeID) (*Volume, error) {
	v, err := m.live.volume(id)
	switch {
	case err == ErrRemoved:
		return nil, nil
	case err != nil:
		return nil, err
	case v.State != Deleting:
		return conflict(v)
	}
	m.put(v, nil)
	m.live.removed.set(m.live.edit, id, struct{}{})
	return v, nil
}

// intern replaces the members of a group by the very strings of their server records.
func (l *live) intern(g *Group) error {
	for i, id := range g.Members {
		at, ok := l.known[id]
		if !ok {
			return fmt.Errorf("%w: %s", ErrNoServer, id)
		}
		g.Members[i] = at.ID
	}
	g.Primary = g.Members[0]
	return nil
}

// put replaces a volume's record by another one. before is nil for a new volume, after for one that is taken
// out. It returns after.
func (m *Machine) put(before, after *Volume) *Volume {
	m.touched = true
	m.live.put(before, after)
	return after
}

// put changes the table and what is derived from it.
func (l *live) put(before, after *Volume) {
	var id blob.VolumeID
	var old, now []ServerID
	if before != nil {
		id, old = before.ID, before.Members
	}
	if after != nil {
		id, now = after.ID, after.Members
	}
	if before == nil {
		l.count++
		after.Collection = l.collections.add(l.edit, after.Collection, id)
	} else if after == nil {
		l.count--
		l.collections.remove(l.edit, before.Collection, id)
	}
	for _, server := range now {
		if !slices.Contains(old, server) {
			l.held.add(l.edit, l.known[server].number, id)
		}
	}
	for _, server := range old {
		if !slices.Contains(now, server) {
			l.held.remove(l.edit, l.known[server].number, id)
		}
	}
	l.volumes = place(l.volumes, l.edit, id, after)
}
