// Package redistest runs a real redis-server for a test, on loopback and on data of its own.
//
// It owns the process. The server syncs before it answers, so that what it has acknowledged survives Kill. It refuses to
// know what is in it.
//
//	server := redistest.Start(t)
//	open(server.Addr())
package redistest

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"weed/internal/freeport"
	"weed/internal/testproc"
)

// startTime bounds a start.
const startTime = time.Minute

// Server is a redis-server. Its methods are for one goroutine at a time.
type Server struct {
	t         testing.TB
	addr, dir string
	flags     []string
	process   *testproc.Process
}

// Start starts an empty server, which ends with the test; flags come last, so they win, and PORT among them is the port that
// it is to listen on. Where there is none to be had,
// the test is skipped, but fails if the environment variable CI is set.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed: nothing to test against")
	}
	s := &Server{t: t, addr: freeport.Addr(t), dir: t.TempDir(), flags: flags}
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

// Addr returns where the server listens, host:port. It stays the same.
func (s *Server) Addr() string { return s.addr }

// Kill ends the process with SIGKILL.
func (s *Server) Kill() { s.process.Kill() }

// Restart starts a server that was killed, on the data that it had, and waits until it listens.
func (s *Server) Restart() {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	args := []string{"--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always",
		"--logfile", "log"}
	for _, flag := range s.flags {
		if flag == "PORT" {
			flag = port
		}
		args = append(args, flag)
	}
	cmd := exec.Command("redis-server", args...)
	if s.process, err = testproc.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.AwaitListening(s.addr, startTime); err != nil {
		s.t.Fatal(err)
	}
}

// Pause lets the server stand still, with its connections open, until Resume.
func (s *Server) Pause() {
	s.t.Helper()
	if err := s.process.Pause(); err != nil {
		s.t.Fatal(err)
	}
}

// Resume lets a server that was paused go on.
func (s *Server) Resume() {
	s.t.Helper()
	if err := s.process.Resume(); err != nil {
		s.t.Fatal(err)
	}
}
