package cassandratest

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"weed/internal/freeport"
	"weed/internal/testcert"
	"weed/internal/testproc"
)

const (
	// startTime bounds a start, which takes about ten seconds on an idle machine of two cores.
	startTime = 3 * time.Minute
	// maxLogBytes bounds what Log returns: the end of the log.
	maxLogBytes = 64 << 10
)

// Server is one Cassandra node. Its methods are for one goroutine at a time.
type Server struct {
	dir     string
	java    string
	args    []string
	addr    string // of the clients' port
	cert    *testcert.Certificate
	release []func()
	process *testproc.Process
}

// start configures and starts the nodes of a cluster, one after the other, and waits until all answer. They have
// addresses of their own, and the same ports.
func start(nodes int) (servers []*Server, err error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jars, err := classPath()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			stopAll(servers)
		}
	}()
	var ports [2]int
	for i := range nodes {
		dir, err := os.MkdirTemp("", "cassandratest-")
		if err != nil {
			return servers, err
		}
		s := &Server{dir: dir, java: java, args: arguments(dir, jars)}
		servers = append(servers, s)
		if i == 0 {
			if ports, err = s.reserve(); err != nil {
				return servers, err
			}
		}
		n := node{number: i, of: nodes, storagePort: ports[0], port: ports[1]}
		s.addr = net.JoinHostPort(n.address(), strconv.Itoa(n.port))
		if s.cert, err = testcert.Write(dir); err != nil {
			return servers, err
		}
		if err := n.configure(dir, s.cert); err != nil {
			return servers, err
		}
		if err := s.Restart(); err != nil {
			return servers, fmt.Errorf("%w\n%s", err, s.Log())
		}
	}
	return servers, nil
}

// reserve reserves ports until the server is stopped.
func (s *Server) reserve() (ports [2]int, err error) {
	for i := range ports {
		port, release, err := freeport.Reserve()
		if err != nil {
			return ports, fmt.Errorf("reserve a port: %w", err)
		}
		ports[i], s.release = port, append(s.release, release)
	}
	return ports, nil
}

func stopAll(servers []*Server) {
	for _, s := range servers {
		s.stop()
	}
}

// Addr returns where the server listens for clients, host:port. It stays the same for the server's life.
func (s *Server) Addr() string { return s.addr }

// Trust returns who believes the server's certificate: clients may encrypt their connections, or not.
func (s *Server) Trust() *x509.CertPool { return s.cert.Trust }

// Kill ends the process with SIGKILL and waits.
func (s *Server) Kill() { s.process.Kill() }

// Pause lets the server stand still, with its connections open, until Resume.
func (s *Server) Pause() error { return s.process.Pause() }

// Resume lets a server that was paused go on.
func (s *Server) Resume() error { return s.process.Resume() }

// Restart starts a server that was killed, on the data that it had, and waits until it listens.
func (s *Server) Restart() error {
	log, err := os.OpenFile(s.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has it, too
	cmd := exec.Command(s.java, s.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if s.process, err = testproc.Start(cmd); err != nil {
		return fmt.Errorf("run java: %w", err)
	}
	return s.process.AwaitListening(s.addr, startTime)
}

func (s *Server) logName() string { return filepath.Join(s.dir, "log") }

// Log returns the end of what the server has logged.
func (s *Server) Log() []byte {
	text, err := os.ReadFile(s.logName())
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-maxLogBytes):]
}

// stop ends the server and removes what it has left.
func (s *Server) stop() {
	s.Kill()
	for _, release := range s.release {
		release()
	}
	_ = os.RemoveAll(s.dir)
}
