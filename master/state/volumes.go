package state

import (
	"fmt"
	"slices"

	"weed/internal/blob"
)

func (op createVolumes) apply(m *Machine) any {
	count := len(op.groups)
	if made, ok := m.tokens[op.token]; ok {
		if made.ids.Len() != count {
			return fmt.Errorf("%w: the token stands for %d volumes, not %d", ErrMalformed, made.ids.Len(), count)
		}
		return made.ids
	}
	r := &m.records
	if r.count+count > MaxVolumes {
		return fmt.Errorf("%w: %d volumes, at most %d", ErrExhausted, r.count, MaxVolumes)
	}
	for i := range op.groups {
		if err := r.intern(&op.groups[i]); err != nil {
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
	m.remember(growth{op.token, ids})
	return ids
}

// remember keeps what a token stands for, and forgets the oldest one when there are too many.
func (m *Machine) remember(g growth) {
	r := &m.records
	if len(r.growths) == MaxTokens {
		delete(m.tokens, r.growths[0].token)
		r.growths = r.growths[1:]
	}
	r.growths = append(r.growths, g)
	m.tokens[g.token] = g
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
	r := &m.records
	switch known, err := r.volume(asked.ID); {
	case err == nil && known.Layout == asked.Layout && known.State == asked.State &&
		known.Epoch == asked.Epoch && known.equal(&asked.Group):
		return known, nil
	case err == nil:
		return conflict(known)
	case err == ErrRemoved:
		return nil, err
	}
	if r.count >= MaxVolumes {
		return nil, fmt.Errorf("%w: %d volumes", ErrExhausted, r.count)
	}
	v := *asked
	if err := r.intern(&v.Group); err != nil {
		return nil, err
	}
	m.raiseVolumeID(v.ID)
	return m.put(nil, &v), nil
}

func (op setStates) apply(m *Machine) any { return outcomes(op.changes, m.setState) }

func (m *Machine) setState(c *StateChange) (*Volume, error) {
	v, err := m.records.volume(c.ID)
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
	v, err := m.records.volume(c.ID)
	switch {
	case err != nil:
		return nil, err
	case v.Epoch == c.Epoch+1 && v.equal(&c.Group):
		return v, nil
	case v.Epoch != c.Epoch || v.State == Deleting:
		return conflict(v)
	}
	if err := m.records.intern(&c.Group); err != nil {
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
	v, err := m.records.volume(id)
	switch {
	case err == ErrRemoved:
		return nil, nil
	case err != nil:
		return nil, err
	case v.State != Deleting:
		return conflict(v)
	}
	m.put(v, nil)
	m.records.removed.set(m.records.edit, id, struct{}{})
	return v, nil
}

// intern replaces the members of a group by the very strings of their server records.
func (r *records) intern(g *Group) error {
	for i, member := range g.Members {
		s, ok := r.servers.get(member)
		if !ok {
			return fmt.Errorf("%w: %s", ErrNoServer, member)
		}
		g.Members[i] = s.ID
	}
	g.Primary = g.Members[0]
	return nil
}

// put replaces a volume's record by another one, in the table and in what is derived from it. before is nil
// for a new volume, after for one that is taken out. It returns after.
func (m *Machine) put(before, after *Volume) *Volume {
	m.touched = true
	m.records.put(before, after)
	return after
}

func (r *records) put(before, after *Volume) {
	var none Volume
	old, now := before, after
	if old == nil {
		old = &none
	}
	if now == nil {
		now = &none
	}
	if before == nil {
		r.count++
		now.Collection = r.collections.add(r.edit, now.Collection, now.ID)
	} else if after == nil {
		r.count--
		r.collections.remove(r.edit, old.Collection, old.ID)
	}
	for _, member := range now.Members {
		if !slices.Contains(old.Members, member) {
			r.held.add(r.edit, member, now.ID)
		}
	}
	for _, member := range old.Members {
		if !slices.Contains(now.Members, member) {
			r.held.remove(r.edit, member, old.ID)
		}
	}
	r.volumes = place(r.volumes, r.edit, max(old.ID, now.ID), after)
}
