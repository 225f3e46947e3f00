// Package freeport gives tests addresses for servers that they start, stop and start again, in this process or
// in others.
//
// It owns the promise that an address stays the test's own until the test ends, also while no server listens on
// it: neither an outgoing connection nor a listener on port 0, of whatever process, is given its port meanwhile.
// On systems other than Linux the address is merely one that was free.
//
//	addr := freeport.Addr(t) // "127.0.0.1:43210"
//	server := start(addr)
//	server.Kill()
//	server = start(addr) // finds its port again
package freeport

import (
	"net"
	"strconv"
	"testing"
)

// Addr returns a loopback address, host:port, that nobody listens on. Connections to it are refused until a
// server of the test listens.
func Addr(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Port(t)))
}

// Port returns the port of an Addr.
func Port(t testing.TB) int {
	t.Helper()
	port, release, err := reserve()
	if err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	t.Cleanup(release)
	return port
}

// Reserve is Port for who outlives a test: the port is kept until release is called.
func Reserve() (port int, release func(), err error) { return reserve() }
