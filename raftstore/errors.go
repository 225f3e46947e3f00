package raftstore

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotLeader is the kind of *NotLeaderError: another server leads, and nothing was proposed.
	ErrNotLeader = errors.New("not the leader")
	// ErrNoLeader says that no leader is known at the moment. Nothing was proposed; try again soon.
	ErrNoLeader = errors.New("no leader at the moment")
	// ErrOutcomeUnknown says that the command may or may not be applied, now or later.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("raft store is closed")
	// ErrInUse says that another process has the directory open.
	ErrInUse = errors.New("directory is in use by another process")
	// ErrAddressChanged is the kind of *AddressChangedError.
	ErrAddressChanged = errors.New("advertised address has changed")
	// ErrConfig is the kind of every complaint about a Config.
	ErrConfig = errors.New("invalid configuration")
)

// NotLeaderError names the server that leads. It matches ErrNotLeader.
type NotLeaderError struct {
	Leader string // advertised host:port
}

func (e *NotLeaderError) Error() string { return "not the leader: ask " + e.Leader }

// Is makes errors.Is(err, ErrNotLeader) true.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// AddressChangedError says that the directory belongs to a member of a cluster under another address. It
// matches ErrAddressChanged.
type AddressChangedError struct {
	Dir     string
	Old     string   // address under which the directory was last used, "" if unknown
	New     string   // address now advertised
	Members []string // configuration found in the directory
}

func (e *AddressChangedError) Error() string {
	return fmt.Sprintf("%s belongs to %s of the cluster [%s], but %s is advertised now: "+
		"advertise the old address again, or list the other masters as peers to be added under the new one "+
		"and then remove the old address from the cluster",
		e.Dir, orUnknown(e.Old), strings.Join(e.Members, " "), e.New)
}

// Is makes errors.Is(err, ErrAddressChanged) true.
func (e *AddressChangedError) Is(target error) bool { return target == ErrAddressChanged }

func orUnknown(address string) string {
	if address == "" {
		return "an unknown member"
	}
	return address
}
