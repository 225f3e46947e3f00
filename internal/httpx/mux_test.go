package httpx

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

func TestMux(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := SplitRaft(ln, shortIdle, nil, nil)
	t.Cleanup(func() { _ = m.Close() })
	s := startOn(t, Config{Handler: hello}, m.HTTP())

	silent := dial(t, s.addr) // must not hold up the others
	odd := dial(t, s.addr).send("\x00")
	raft := dial(t, s.addr).send(string(rune(RaftByte)) + "ping")
	dial(t, s.addr).send(get).read("GET").want(t, 200)

	nc, err := m.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, ok := nc.(*net.TCPConn); !ok {
		t.Errorf("Raft gets a %T", nc)
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(nc, buf); err != nil || string(buf) != "ping" {
		t.Fatalf("Raft reads %q, %v", buf, err)
	}
	if _, err := nc.Write([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(raft.br, buf); err != nil || string(buf) != "pong" {
		t.Fatalf("the dialer reads %q, %v", buf, err)
	}
	silent.wantClosed()
	odd.wantClosed()

	// HTTP drains, Raft goes on.
	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	dial(t, s.addr).send(get).wantClosed()
	dial(t, s.addr).send("\x02late")
	late, err := m.Raft().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()

	pending := dial(t, s.addr)
	if err := m.Raft().Close(); err != nil {
		t.Fatal(err)
	}
	pending.wantClosed()
	if _, err := m.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		_ = c.Close()
		t.Error("the port is still open")
	}
}

func TestMuxFailsWithItsListener(t *testing.T) {
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := SplitRaft(ln, 0, nil, nil)
	_ = ln.Close()
	if err := New(Config{Handler: hello}).Serve(context.Background(), m.HTTP()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	if _, err := m.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	_ = m.Close()
}

// Raft changes things, so it is for listed addresses; HTTP is judged by request.
func TestMuxRefusesRaftOfStrangers(t *testing.T) {
	for list, listed := range map[string]bool{"10.0.0.0/8": false, "10.0.0.0/8, 127.0.0.1": true} {
		ln, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		guard, err := ParseGuard(list)
		if err != nil {
			t.Fatal(err)
		}
		m := SplitRaft(ln, 0, guard, nil)
		t.Cleanup(func() { _ = m.Close() })
		s := startOn(t, Config{Handler: hello, Guard: guard}, m.HTTP())
		raft := dial(t, s.addr).send(string(rune(RaftByte)) + "ping")
		if listed {
			nc, err := m.Raft().Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.Close()
		}
		raft.wantClosed()
		dial(t, s.addr).send(get).read("GET").want(t, 200)
	}
}
