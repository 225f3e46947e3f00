package cassandratest

import (
	"net"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestKillAndRestart asks twice for the one server, and takes it down and up again: it finds its port.
func TestKillAndRestart(t *testing.T) {
	s := Shared(t)
	if Shared(t) != s {
		t.Error("two shared servers")
	}
	s.Kill()
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Fatal("a killed server listens")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}
