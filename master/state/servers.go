package state

import "fmt"

func (op putServer) apply(m *Machine) any {
	r := &m.records
	known, ok := r.servers.get(op.server.ID)
	if ok && *known == op.server {
		return known
	}
	if !ok && r.servers.len >= MaxServers {
		return fmt.Errorf("%w: %d servers", ErrExhausted, r.servers.len)
	}
	s := op.server
	if ok {
		s.ID = known.ID // the string that its volumes share
	}
	r.servers.set(r.edit, s.ID, &s)
	m.publishServers()
	m.touched = true
	return &s
}

func (op removeServer) apply(m *Machine) any {
	r := &m.records
	if held := r.held.ids(op.id).len; held > 0 {
		return fmt.Errorf("%w: %s is a member of %d", ErrServerInUse, op.id, held)
	}
	if _, ok := r.servers.get(op.id); !ok {
		return false
	}
	r.servers.delete(r.edit, op.id)
	m.publishServers()
	m.touched = true
	return true
}
