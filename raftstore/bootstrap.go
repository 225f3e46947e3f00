package raftstore

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// prepare settles what Raft will find in the directory, before it starts: a server on its own is
// bootstrapped, a lone voter that changed its address is moved to the new one. It returns the ids of the
// configuration, none if there is no configuration yet.
func (s *Store) prepare(rc raft.Config, transport raft.Transport, machine StateMachine) ([]string, error) {
	owner, err := s.disk.ownID()
	if err != nil {
		return nil, fmt.Errorf("read own id in %s: %w", s.cfg.Dir, err)
	}
	hasState, err := raft.HasExistingState(s.disk.logs, s.disk.bolt, s.disk.snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for raft state in %s: %w", s.cfg.Dir, err)
	}
	var members []string
	if hasState {
		if members, err = s.storedMembers(rc, transport); err != nil {
			return nil, err
		}
	}
	self := []string{s.cfg.ID}
	switch {
	case len(members) == 0 && len(s.peers) == 1:
		err = s.disk.setOrigin(newOrigin(self))
		if err == nil {
			err = raft.BootstrapCluster(&rc, s.disk.logs, s.disk.bolt, s.disk.snapshots, transport, configurationOf(self))
		}
		members = self
	case len(members) == 0, slices.Contains(members, s.cfg.ID):
	case len(members) == 1 && members[0] == owner:
		s.logger.Warn("raft: this only master has a new address, its cluster moves along", "old", owner, "new", s.cfg.ID)
		// The machine is left with all that was ever logged; Raft replaces that by the snapshot which
		// RecoverCluster writes.
		err = raft.RecoverCluster(&rc, machineAdapter{machine}, s.disk.logs, s.disk.bolt, s.disk.snapshots,
			transport, configurationOf(self))
		members = self
	case len(s.peers) == 1:
		return nil, &AddressChangedError{Dir: s.cfg.Dir, Old: owner, New: s.cfg.ID, Members: members}
	}
	if err != nil {
		return nil, fmt.Errorf("prepare raft state in %s: %w", s.cfg.Dir, err)
	}
	if len(members) > 0 {
		o, err := s.disk.origin()
		if err != nil {
			return nil, fmt.Errorf("read origin in %s: %w", s.cfg.Dir, err)
		}
		s.stream.origin.Store(&o)
	}
	if owner != s.cfg.ID {
		if err := s.disk.setOwnID(s.cfg.ID); err != nil {
			return nil, fmt.Errorf("record own id in %s: %w", s.cfg.Dir, err)
		}
	}
	return members, nil
}

// newOrigin returns the origin of a cluster that begins with members. All of them must come to the same one
// on their own, so it follows from the list; a cluster of one can afford chance.
func newOrigin(members []string) (o origin) {
	if len(members) == 1 {
		_, _ = rand.Read(o[:]) // never fails
		return o
	}
	sum := sha256.Sum256([]byte(strings.Join(members, ",")))
	copy(o[:], sum[:])
	return o
}

// enter opens Raft's channel to the servers of one origin, now and after a restart.
func (s *Store) enter(o origin) error {
	if err := s.disk.setOrigin(o); err != nil {
		return fmt.Errorf("record origin in %s: %w", s.cfg.Dir, err)
	}
	s.stream.origin.Store(&o)
	return nil
}

// storedMembers reads the latest configuration in the directory.
func (s *Store) storedMembers(rc raft.Config, transport raft.Transport) ([]string, error) {
	stored, err := raft.GetConfiguration(&rc, blindMachine{}, s.disk.logs, s.disk.bolt, s.disk.snapshots, transport)
	if err != nil {
		return nil, fmt.Errorf("read raft configuration in %s: %w", s.cfg.Dir, err)
	}
	var members []string
	for _, server := range stored.Servers {
		members = append(members, string(server.ID))
	}
	return members, nil
}

// configurationOf makes every id a voter.
func configurationOf(ids []string) raft.Configuration {
	var c raft.Configuration
	for _, id := range ids {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	return c
}
