// Package cassandratest runs a real Apache Cassandra for tests: one node on loopback, or several, with free ports, small heaps
// and data of their own in a temporary directory.
//
// It owns the process and the class path. The server is the library cassandra-all of Maven's central repository,
// run on a Java of the machine that fits; mvn brings it into Maven's own repository once, and the class path is kept under the
// user's cache directory, so that later runs start without mvn. It refuses to download anything else.
//
// The node syncs its commit log before it answers, so that what it has acknowledged survives Kill. It dies with the
// tests, also when those are killed (on Linux).
//
//	func TestMain(m *testing.M) { os.Exit(cassandratest.Main(m)) }
//
//	func TestStore(t *testing.T) {
//		server := cassandratest.Shared(t) // one for all tests; they use keyspaces of their own
//		open(server.Addr())
//	}
package cassandratest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared is the server of the test binary.
var shared struct {
	mu     sync.Mutex
	server *Server
	err    error
}

// Shared returns the server of the test binary, which the first caller starts and Main stops. Where there is no Java
// that fits, no mvn, or no server to be had with them, the test is skipped, but fails if the environment variable CI is set.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil && shared.err == nil {
		var servers []*Server
		if servers, shared.err = start(1); shared.err == nil {
			shared.server = servers[0]
		}
	}
	giveUp(t, shared.err)
	return shared.server
}

// Start starts a server for one test, which may kill and restart it. It is skipped as Shared is.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartCluster(t, 1)[0]
}

// StartCluster starts a cluster of so many nodes for one test. It is skipped as Shared is.
func StartCluster(t testing.TB, nodes int) []*Server {
	t.Helper()
	servers, err := start(nodes)
	giveUp(t, err)
	t.Cleanup(func() {
		for i, s := range servers {
			if t.Failed() {
				t.Logf("cassandra %d:\n%s", i, s.Log())
			}
		}
		stopAll(servers)
	})
	return servers
}

// giveUp ends a test that has no server.
func giveUp(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") != "" || !isMissing(err):
		t.Fatalf("no Cassandra: %v", err)
	default:
		t.Skipf("no Cassandra to test against: %v", err)
	}
}

// Main runs the tests, stops the shared server and returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		if code != 0 {
			fmt.Fprintf(os.Stderr, "cassandra:\n%s\n", shared.server.Log())
		}
		shared.server.stop()
		shared.server = nil
	}
	return code
}
