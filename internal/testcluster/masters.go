package testcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Election is the longest time that a follower of the masters' Raft waits for word of a leader before it
// stands for election, with the time-outs that weed master has.
const Election = 1500 * time.Millisecond

// Peers returns n places on loopback, and the list of them as operators type it after -peers=.
func Peers(t testing.TB, n int) (places []Place, list string) {
	t.Helper()
	var names []string
	for range n {
		at := FreePlace(t)
		places, names = append(places, at), append(names, Typed(at.Addr))
	}
	return places, strings.Join(names, ",")
}

// Typed returns a loopback address as operators type it: localhost:9333.
func Typed(addr string) string { return strings.Replace(addr, "127.0.0.1", "localhost", 1) }

// StartMasters starts n masters on loopback that are each other's -peers, and waits until they have a leader.
func (c *Cluster) StartMasters(n int, flags ...string) {
	c.t.Helper()
	places, list := Peers(c.t, n)
	for _, at := range places {
		c.StartMasterAt(at, append([]string{"-peers=" + list}, flags...)...)
	}
	c.WaitLeader(c.Masters...)
}

// ClusterStatus is what a master says at /cluster/status.
type ClusterStatus struct {
	IsLeader bool
	Leader   string
	Peers    []string // the other members
}

// ClusterStatus asks a master.
func (s *Server) ClusterStatus() (status ClusterStatus, err error) {
	a := DoWithin(Election, http.MethodGet, s.URL("/cluster/status"), "")
	if err := a.Want(http.StatusOK); err != nil {
		return status, err
	}
	return status, json.Unmarshal(a.Body, &status)
}

// leaderOf returns the master that all of masters take for the leader, itself included.
func leaderOf(masters []*Server) (leader *Server, err error) {
	var claims, named []string
	for _, m := range masters {
		status, err := m.ClusterStatus()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Addr, err)
		}
		if status.IsLeader {
			leader = m
			claims = append(claims, m.Addr)
		}
		named = append(named, status.Leader)
	}
	if len(claims) != 1 {
		return nil, fmt.Errorf("leaders: %q, named: %q", claims, named)
	}
	for _, name := range named {
		if name != leader.Addr {
			return nil, fmt.Errorf("leader: %s, named: %q", leader.Addr, named)
		}
	}
	return leader, nil
}

// WaitLeader waits until masters agree on who of them leads.
func (c *Cluster) WaitLeader(masters ...*Server) *Server {
	c.t.Helper()
	var leader *Server
	WaitFor(c.t, "the masters agree on a leader", func() (err error) {
		leader, err = leaderOf(masters)
		return err
	})
	return leader
}

// WaitMembers waits until all masters list each other, and nobody else, as members of the cluster.
func (c *Cluster) WaitMembers(masters ...*Server) {
	c.t.Helper()
	WaitFor(c.t, "the masters are members", func() error {
		var errs []error
		for _, m := range masters {
			status, err := m.ClusterStatus()
			if err != nil {
				return err
			}
			others := make(map[string]bool)
			for _, peer := range status.Peers {
				others[peer] = true
			}
			for _, other := range masters {
				if other != m && !others[other.Addr] {
					errs = append(errs, fmt.Errorf("%s does not list %s", m.Addr, other.Addr))
				}
			}
			if len(status.Peers) != len(masters)-1 {
				errs = append(errs, fmt.Errorf("%s lists %q", m.Addr, status.Peers))
			}
		}
		return errors.Join(errs...)
	})
}

// Others returns the masters but for some.
func (c *Cluster) Others(but ...*Server) []*Server {
	var others []*Server
	for _, m := range c.Masters {
		keep := true
		for _, b := range but {
			keep = keep && b != m
		}
		if keep {
			others = append(others, m)
		}
	}
	return others
}
