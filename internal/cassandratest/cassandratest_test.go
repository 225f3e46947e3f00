package cassandratest

import (
	"net"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestKillAndRestart takes a server down and up again: it finds its port.
func TestKillAndRestart(t *testing.T) {
	s := Start(t)
	s.Kill()
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Fatal("a killed server listens")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

// TestShared asks twice for the one server.
func TestShared(t *testing.T) {
	if a, b := Shared(t), Shared(t); a != b {
		t.Error("two shared servers")
	}
}
