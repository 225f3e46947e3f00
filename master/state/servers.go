package state

import (
	"fmt"
	"slices"
)

func (op putServer) apply(m *Machine) any {
	l := m.live
	known := l.known[op.server.ID]
	if known != nil && *known.Server == op.server {
		return known.Server
	}
	if known == nil && l.servers.len >= MaxServers {
		return fmt.Errorf("%w: %d servers", ErrExhausted, l.servers.len)
	}
	m.touched = true
	return l.putServer(known, op.server)
}

// putServer writes a server's record in the place of that of known, which is nil for a new one.
func (l *live) putServer(known *member, s Server) *Server {
	now := &member{Server: &s}
	switch n := len(l.free); {
	case known != nil:
		s.ID = known.ID // the string that its volumes share
		now.number = known.number
	case n > 0:
		now.number = l.free[n-1]
		l.free = l.free[:n-1]
	default:
		now.number = l.spare
		l.spare++
	}
	l.servers.set(l.edit, s.ID, now)
	l.known[s.ID] = now
	l.public.Store(s.ID, &s)
	return &s
}

func (op removeServer) apply(m *Machine) any {
	l := m.live
	known := l.known[op.id]
	if known == nil {
		return false
	}
	if held := l.held.ids(known.number).len; held > 0 {
		return fmt.Errorf("%w: %s is a member of %d", ErrServerInUse, op.id, held)
	}
	l.servers.delete(l.edit, op.id)
	delete(l.known, op.id)
	l.public.Delete(op.id)
	l.free = append(l.free, known.number)
	l.setDraining(op.id, false)
	m.touched = true
	return true
}

func (op setDraining) apply(m *Machine) any {
	l := m.live
	known := l.known[op.id]
	if known == nil {
		return fmt.Errorf("%w: %s", ErrNoServer, op.id)
	}
	if l.setDraining(known.ID, op.on) {
		m.touched = true
	}
	return op.on
}

// setDraining says whether a server is to be emptied, and reports whether that is new.
func (l *live) setDraining(id ServerID, on bool) bool {
	i, is := slices.BinarySearch(l.draining, id)
	switch {
	case is == on:
		return false
	case on:
		l.draining = slices.Insert(slices.Clone(l.draining), i, id)
	default:
		l.draining = slices.Delete(slices.Clone(l.draining), i, i+1)
	}
	return true
}
