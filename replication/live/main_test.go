package live

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/replication"
	"weed/replication/link"
	"weed/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// deadline bounds every wait of a test; nothing depends on how far below it things happen.
	deadline = time.Minute
	cookie   = blob.Cookie(0x1234)
	volume   = blob.VolumeID(7)
)

// cluster is servers that reach each other over pipes, and the masters' record of one volume.
type cluster struct {
	t      testing.TB
	policy storage.SyncPolicy

	mu      sync.Mutex // guards the rest
	config  replication.Config
	servers map[replication.Server]*server
	conns   map[[2]replication.Server][]net.Conn
	apart   map[[2]replication.Server]bool
	mute    bool // the masters do not answer
}

// server is one life of a server.
type server struct {
	c     *cluster
	name  replication.Server
	disk  *vfs.Mem
	store *storage.Store
	v     *storage.Volume
	links *link.Links
	node  *Node
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

func newCluster(t testing.TB, members ...replication.Server) *cluster {
	return newClusterThatSyncs(t, storage.SyncAlways, members...)
}

func newClusterThatSyncs(t testing.TB, policy storage.SyncPolicy, members ...replication.Server) *cluster {
	c := &cluster{
		t: t, policy: policy, servers: map[replication.Server]*server{}, conns: map[[2]replication.Server][]net.Conn{},
		apart:  map[[2]replication.Server]bool{},
		config: replication.Config{Epoch: 1, Primary: members[0], Members: members, Copies: len(members)},
	}
	t.Cleanup(func() {
		for _, s := range c.alive() {
			s.end()
		}
	})
	for _, name := range members {
		c.start(name, vfs.NewMem(), &c.config)
	}
	return c
}

func (c *cluster) alive() (all []*server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.servers {
		all = append(all, s)
	}
	return all
}

// start runs a server with what is on a disk. first is there if the volume is to be made as one of a new group.
func (c *cluster) start(name replication.Server, disk *vfs.Mem, first *replication.Config) *server {
	c.t.Helper()
	s := &server{c: c, name: name, disk: disk}
	var err error
	s.store, err = storage.OpenStore(disk, []storage.Directory{{Path: "/d", MaxVolumes: 10}}, storage.Config{Sync: c.policy})
	if err != nil {
		c.t.Fatal(err)
	}
	v, ok := s.store.Volume(volume)
	if !ok {
		if v, err = s.store.Create(volume, "", blob.Placement{}, blob.TTL{}); err != nil {
			c.t.Fatal(err)
		}
	}
	s.v = v
	s.links = link.New(link.Config{
		Self: name, Source: s, Handler: s, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
		Dial: func(_ context.Context, to string) (net.Conn, error) { return c.dial(name, replication.Server(to)) },
	})
	s.node = New(Config{Self: name, Links: s.links, Masters: c, Lease: lease, GiveUp: 6 * lease})
	if _, err := s.node.Open(v, first); err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.node.Run(ctx) })
	c.mu.Lock()
	c.servers[name] = s
	c.mu.Unlock()
	return s
}

func (s *server) replica() *Replica { return s.node.Replica(volume) }

func (s *server) ReadLog(_ blob.VolumeID, offset int64, p []byte, of *replication.Origin) (int, error) {
	return ReadLog(s.v, offset, p, of)
}

func (s *server) Receive(from replication.Server, f link.Frame) { s.node.Receive(from, f) }
func (s *server) Flush(replication.Server)                      {}

// end stops a server.
func (s *server) end() {
	s.c.mu.Lock()
	delete(s.c.servers, s.name)
	s.c.mu.Unlock()
	s.stop()
	_ = s.links.Close()
	s.wg.Wait()
	_ = s.store.Close() // the disk may be gone
}

// kill ends a server as kill -9 does, and returns what is on its disk.
func (s *server) kill() *vfs.Mem {
	s.c.mu.Lock()
	delete(s.c.servers, s.name)
	s.c.mu.Unlock()
	disk := s.disk.Crash(vfs.LoseNothing, nil)
	_ = s.links.Close()
	s.end()
	return disk
}

func pairOf(a, b replication.Server) [2]replication.Server {
	return [2]replication.Server{min(a, b), max(a, b)}
}

func (c *cluster) dial(from, to replication.Server) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[to]
	if s == nil || c.apart[pairOf(from, to)] {
		return nil, errors.New("unreachable")
	}
	near, far := net.Pipe()
	c.conns[pairOf(from, to)] = append(c.conns[pairOf(from, to)], near)
	s.wg.Go(func() { s.answer(far) })
	return near, nil
}

func (s *server) answer(conn net.Conn) {
	defer conn.Close()
	if conn.SetReadDeadline(time.Now().Add(deadline)) != nil {
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	from, err := s.links.Accept(r.Header.Get("Upgrade"), r.Host, r.Header.Get("From"))
	if err != nil {
		s.c.t.Error(err)
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+link.Protocol+"\r\n\r\n")
	if err == nil {
		_ = s.links.Serve(conn, from) // its end is what counts
	}
}

// separate cuts the connections of two servers, or lets them come back.
func (c *cluster) separate(a, b replication.Server, apart bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apart[pairOf(a, b)] = apart
	for _, conn := range c.conns[pairOf(a, b)] {
		_ = conn.Close()
	}
	c.conns[pairOf(a, b)] = nil
}

// Configure is the masters' compare-and-swap.
func (c *cluster) Configure(_ context.Context, v blob.VolumeID, next replication.Config) (replication.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mute || v != volume:
		return replication.Config{}, errors.New("no master answers")
	case next.Epoch == c.config.Epoch+1:
		c.config = next
	}
	return c.config, nil
}

func (c *cluster) inForce() replication.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

func (c *cluster) eventually(what string, cond func() bool) {
	c.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(deadline)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			for _, s := range c.alive() {
				c.t.Logf("%s: %+v", s.name, s.replica().Look())
			}
			c.t.Fatalf("never happened: %s; in force: %+v", what, c.inForce())
		}
	}
}

// settled waits until the members are these, the first leads, and all are in sync.
func (c *cluster) settled(members ...replication.Server) {
	c.t.Helper()
	c.agreed(members, func(in replication.Config) bool { return in.Primary == members[0] })
}

// agreed waits until the members are these, whoever leads that fits, and all are in sync.
func (c *cluster) agreed(members []replication.Server, fits func(replication.Config) bool) {
	c.t.Helper()
	c.eventually("all in sync", func() bool {
		in := c.inForce()
		if len(in.Members) != len(members) || !fits(in) {
			return false
		}
		for _, name := range members {
			c.mu.Lock()
			s := c.servers[name]
			c.mu.Unlock()
			if s == nil || !slices.Contains(in.Members, name) {
				return false
			}
			if st := s.replica().Status(); !st.InSync || st.Config.Epoch != in.Epoch || !s.replica().Readable() {
				return false
			}
		}
		return true
	})
}

func (s *server) put(key blob.Key, data string) error {
	return s.v.Put(&storage.Needle{Key: key, Cookie: cookie, Data: []byte(data)})
}

func (s *server) delete(key blob.Key) error {
	_, err := s.v.Delete(key, cookie)
	return err
}

// get reads as a volume server does; "" is for what is not found.
func (s *server) get(key blob.Key) (string, error) {
	for end := time.Now().Add(deadline); time.Now().Before(end); {
		if err := s.v.Settled(key, deadline); err != nil {
			return "", err
		}
		n, _, err := s.v.Get(key, cookie, nil)
		if !s.replica().Readable() {
			s.replica().Await(deadline)
			continue
		}
		if errors.Is(err, storage.ErrNotFound) {
			return "", nil
		}
		return string(n.Data), err
	}
	return "", errors.New("not readable")
}

func (c *cluster) want(key blob.Key, data string, servers ...*server) {
	c.t.Helper()
	for _, s := range servers {
		if got, err := s.get(key); err != nil || got != data {
			c.t.Errorf("%s: key %d is %.20q, %v; want %.20q", s.name, key, got, err, data)
		}
	}
}

// wantAlike checks that the logs are equal once nothing is under way.
func (c *cluster) wantAlike(servers ...*server) {
	c.t.Helper()
	first := servers[0].replica().Look()
	for _, s := range servers[1:] {
		c.eventually("committed everywhere", func() bool {
			st := s.replica().Look()
			return st.Committed == first.Committed && st.Length == first.Length
		})
		if a, b := servers[0].dat(), s.dat(); !bytes.Equal(a, b) {
			c.t.Errorf("the logs of %s and %s differ: %d and %d bytes", servers[0].name, s.name, len(a), len(b))
		}
	}
}

func (s *server) dat() []byte { return s.datOn(s.disk) }

// datOn returns the log as it is on a disk.
func (s *server) datOn(disk *vfs.Mem) []byte {
	f, err := disk.OpenFile("/d/7.dat", os.O_RDONLY, 0)
	if err != nil {
		s.c.t.Error(err)
		return nil
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		s.c.t.Error(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		s.c.t.Error(err)
	}
	return b
}
