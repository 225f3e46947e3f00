package testcluster

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// Cluster is a set of servers that know each other.
type Cluster struct {
	t       testing.TB
	Masters []*Server
	Volumes []*Server
}

// Server is one process with its address and its data.
type Server struct {
	*Process
	Addr string // host:port
	Dir  string // -mdir or -dir
}

// New returns a cluster without servers.
func New(t testing.TB) *Cluster { return &Cluster{t: t} }

// URL returns the URL of a path on the server.
func (s *Server) URL(path string) string { return "http://" + s.Addr + path }

// Restart starts the server again, with more flags, and waits until it answers.
func (s *Server) Restart(flags ...string) {
	s.t.Helper()
	s.Process.Restart(flags...)
	s.waitUp()
}

// waitUp waits until the server answers. One that has ended fails the test at once.
func (s *Server) waitUp() {
	s.t.Helper()
	WaitFor(s.t, s.Addr+" answers", func() error {
		select {
		case <-s.done:
			s.t.Fatalf("weed %s has ended", strings.Join(s.args, " "))
		default:
		}
		return Do(http.MethodGet, s.URL("/healthz"), "").Want(http.StatusOK)
	})
}

// Place is where a server runs.
type Place struct {
	Addr string // host:port that it listens on and advertises
	// Wrap is put before weed on the command line, such as ip netns exec; the process that it starts must
	// become weed. Empty means nothing.
	Wrap []string
}

// FreePlace returns a place on loopback.
func FreePlace(t testing.TB) Place {
	t.Helper()
	return Place{Addr: FreeAddr(t)}
}

// StartMaster starts a master on a new address with an empty -mdir. Flags come last, so they win.
func (c *Cluster) StartMaster(flags ...string) *Server {
	c.t.Helper()
	return c.StartMasterAt(FreePlace(c.t), flags...)
}

// StartMasterAt starts a master with an empty -mdir at a place.
func (c *Cluster) StartMasterAt(at Place, flags ...string) *Server {
	c.t.Helper()
	s := c.start(at, "master", "-mdir", flags)
	c.Masters = append(c.Masters, s)
	return s
}

// StartVolume starts a volume server for the masters that are there, with an empty -dir.
func (c *Cluster) StartVolume(flags ...string) *Server {
	c.t.Helper()
	return c.StartVolumeAt(FreePlace(c.t), flags...)
}

// StartVolumeAt is StartVolume at a place.
func (c *Cluster) StartVolumeAt(at Place, flags ...string) *Server {
	c.t.Helper()
	var masters []string
	for _, m := range c.Masters {
		masters = append(masters, m.Addr)
	}
	s := c.start(at, "volume", "-dir", append([]string{"-mserver=" + strings.Join(masters, ",")}, flags...))
	c.Volumes = append(c.Volumes, s)
	return s
}

// StartFiler starts a filer for the masters that are there, with an empty -dir.
func (c *Cluster) StartFiler(flags ...string) *Server {
	c.t.Helper()
	var masters []string
	for _, m := range c.Masters {
		masters = append(masters, m.Addr)
	}
	return c.start(FreePlace(c.t), "filer", "-dir", append([]string{"-master=" + strings.Join(masters, ",")}, flags...))
}

func (c *Cluster) start(at Place, command, dirFlag string, flags []string) *Server {
	c.t.Helper()
	home := c.t.TempDir()
	host, port, _ := net.SplitHostPort(at.Addr)
	s := &Server{Addr: at.Addr, Dir: filepath.Join(home, "data")}
	args := []string{command, "-ip=" + host, "-port=" + port, dirFlag + "=" + s.Dir, "-pulseSeconds=1"}
	s.Process = startIn(c.t, home, at.Wrap, append(args, flags...)...)
	s.waitUp()
	return s
}

// StartServer starts `weed server`: a master and a volume server in one process, which is both entries.
func (c *Cluster) StartServer(flags ...string) (master, volume *Server) {
	c.t.Helper()
	home := c.t.TempDir()
	master = &Server{Addr: FreeAddr(c.t), Dir: filepath.Join(home, "data", "master")}
	volume = &Server{Addr: FreeAddr(c.t), Dir: filepath.Join(home, "data")}
	_, masterPort, _ := net.SplitHostPort(master.Addr)
	_, volumePort, _ := net.SplitHostPort(volume.Addr)
	args := append([]string{"server", "-dir=" + volume.Dir, "-master.port=" + masterPort, "-volume.port=" + volumePort,
		"-pulseSeconds=1"}, flags...)
	master.Process = startIn(c.t, home, nil, args...)
	volume.Process = master.Process
	master.waitUp()
	volume.waitUp()
	c.Masters, c.Volumes = append(c.Masters, master), append(c.Volumes, volume)
	return master, volume
}

// WaitWritable waits until the masters assign.
func (c *Cluster) WaitWritable() {
	c.t.Helper()
	WaitFor(c.t, "the masters assign", func() error {
		for _, m := range c.Masters {
			if err := Do(http.MethodGet, m.URL("/dir/assign"), "").Want(http.StatusOK); err != nil {
				return fmt.Errorf("%s: %w", m.Addr, err)
			}
		}
		return nil
	})
}
