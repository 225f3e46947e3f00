package testcluster

import (
	"context"
	"net"
	"sync"
)

// isolated is a part of the machine's network whose addresses can be reached only from within.
type isolated interface {
	// contains reports whether an IP address belongs to it.
	contains(ip net.IP) bool
	// dial connects to one of its addresses; it is net.Dialer.DialContext within the network.
	dial(ctx context.Context, network, address string) (net.Conn, error)
}

// networks are those that exist now. Do finds its way by the address alone, so they share no addresses.
var networks struct {
	mu    sync.Mutex
	count int // ever made
	all   map[isolated]struct{}
}

// networkOf returns the isolated network of an address, nil if it is none's.
func networkOf(address string) isolated {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	networks.mu.Lock()
	defer networks.mu.Unlock()
	for n := range networks.all {
		if n.contains(ip) {
			return n
		}
	}
	return nil
}
