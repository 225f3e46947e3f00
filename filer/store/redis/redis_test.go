package redis

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"weed/filer/store"
	"weed/filer/store/storetest"
	"weed/internal/freeport"
)

// server is a redis-server of the test.
type server struct {
	t         *testing.T
	addr, dir string
	process   *exec.Cmd
}

func start(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed: nothing to test the store against")
	}
	s := &server{t: t, addr: freeport.Addr(t), dir: t.TempDir()}
	s.run()
	t.Cleanup(s.kill)
	return s
}

func (s *server) run() {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", s.dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always")
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// open opens a store, as soon as the server answers.
func (s *server) open(prefix string) *Store {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		st, err := Open(context.Background(), Config{Addr: s.addr, Prefix: prefix}, storetest.Options())
		if err == nil {
			s.t.Cleanup(func() { _ = st.Close() })
			return st
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
	}
}

func TestStore(t *testing.T) {
	s := start(t)
	storetest.Run(t, func(t *testing.T) store.Store { return s.open(t.Name() + ":") })
}

// TestServerIsKilled: calls fail in bounded time, and what was answered is there when the server is back.
func TestServerIsKilled(t *testing.T) {
	ctx := context.Background()
	s := start(t)
	st := s.open("")
	v, err := st.Put(ctx, "/f", 0, store.Record{Value: []byte("v")}, store.Effects{Drops: []string{"d"}})
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	if _, err := st.Find(ctx, "/f"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("while the server is down: %v", err)
	}
	s.run()
	for deadline := time.Now().Add(30 * time.Second); st.Ping(ctx) != nil && time.Now().Before(deadline); {
	}
	if rec, err := st.Find(ctx, "/f"); err != nil || rec.Version != v || string(rec.Value) != "v" {
		t.Errorf("%+v, %v", rec, err)
	}
	if drops := storetest.Dropped(t, st); drops["d"] != 1 {
		t.Errorf("drops %v", drops)
	}
}
