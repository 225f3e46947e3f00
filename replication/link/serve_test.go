package link

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"weed/replication"
)

// rawDial begins a connection in the name of a server, to write whatever on it.
func rawDial(t *testing.T, to *node, from replication.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", string(to.self))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := Upgrade(conn, to.self, from); err != nil {
		t.Fatal(err)
	}
	return conn
}

func encoded(t *testing.T, f Frame) []byte {
	t.Helper()
	b, err := appendFrame(make([]byte, 0, f.bound()), &f, patternLogs{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBrokenFramesEndTheConnection(t *testing.T) {
	good := encoded(t, appendOf(7, 8, 1000))
	flipped := append([]byte(nil), good...)
	flipped[500] ^= 4
	for _, c := range []struct {
		what string
		send []byte
		want error
	}{
		{"nothing", nil, nil},
		{"flipped bit", flipped, ErrFrame},
		{"huge size", []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, ErrFrame},
		{"unknown tag", sealed(77, 1, 0, 0), ErrFrame},
		{"cut off in the body", good[:len(good)-1], io.ErrUnexpectedEOF},
		{"cut off in the head", good[:3], io.ErrUnexpectedEOF},
	} {
		t.Run(c.what, func(t *testing.T) {
			box := newInbox()
			n := startNode(t, "127.0.0.1:0", box, nil)
			conn := rawDial(t, n, "127.0.0.1:1")
			conn.Write(append(append([]byte(nil), good...), c.send...))
			conn.(*net.TCPConn).CloseWrite()
			n.wantServed(t, c.want)
			f := box.next(t) // what came before is handed over
			checkBytes(t, f)
			f.Release()
			if len(box.frames) != 0 {
				t.Errorf("got %+v", <-box.frames)
			}
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the connection goes on")
			}
		})
	}
}

// TestPieces writes frames in all kinds of pieces.
func TestPieces(t *testing.T) {
	box := newInbox()
	n := startNode(t, "127.0.0.1:0", box, nil)
	conn := rawDial(t, n, "127.0.0.1:1")
	stream := strings.Repeat(string(encoded(t, ackOf(1, 1)))+string(encoded(t, appendOf(2, 8, 300))), 20)
	go func() {
		io.Copy(conn, iotest.OneByteReader(strings.NewReader(stream)))
		io.Copy(conn, iotest.HalfReader(strings.NewReader(strings.Repeat(stream, 40))))
	}()
	for range 41 * 20 {
		if f := box.next(t); f.Message.Kind != replication.MsgAck {
			t.Fatalf("got %+v, want an ack", f.Message)
		}
		f := box.next(t)
		if len(f.Message.Bytes) != 300 {
			t.Fatalf("%d bytes", len(f.Message.Bytes))
		}
		checkBytes(t, f)
		f.Release()
	}
}

func TestNewerConnectionReplacesOlder(t *testing.T) {
	box := newInbox()
	n := startNode(t, "127.0.0.1:0", box, nil)
	first := rawDial(t, n, "127.0.0.1:1")
	first.Write(encoded(t, ackOf(1, 1)))
	box.next(t)
	second := rawDial(t, n, "127.0.0.1:1")
	n.wantServed(t, ErrReplaced)
	second.Write(encoded(t, ackOf(1, 2)))
	if f := box.next(t); f.Message.Length != 2 {
		t.Fatalf("got %+v", f.Message)
	}
	second.Close()
	n.wantServed(t, nil)
}

func TestAccept(t *testing.T) {
	l := New(Config{Self: "me:1", Source: patternLogs{}, Handler: newInbox()})
	defer l.Close()
	for _, c := range []struct {
		upgrade, host, from string
		want                error
	}{
		{"weed-replication/1", "me:1", "other:1", nil},
		{"Weed-Replication/1", "me:1", "other:1", nil},
		{"weed-replication/2", "me:1", "other:1", ErrRefused},
		{"", "me:1", "other:1", ErrRefused},
		{Protocol, "me:2", "other:1", ErrRefused},
		{Protocol, "me:1", "", ErrRefused},
		{Protocol, "me:1", "a b", ErrRefused},
		{Protocol, "me:1", strings.Repeat("x", 301), ErrRefused},
		{Protocol, "me:1", "me:1", ErrSelf},
	} {
		from, err := l.Accept(c.upgrade, c.host, c.from)
		if !errors.Is(err, c.want) || err == nil && string(from) != c.from {
			t.Errorf("%+v: %q, %v", c, from, err)
		}
	}
	a, b := net.Pipe()
	defer b.Close()
	if err := l.Serve(a, "me:1"); err != ErrSelf {
		t.Errorf("Serve: %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); err == nil {
		t.Error("the connection stays open")
	}
}

func TestUpgrade(t *testing.T) {
	const ok = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nupgrade:  weed-replication/1\r\n\r\n"
	for _, c := range []struct {
		answer string
		want   error
	}{
		{ok, nil},
		{ok + "x", ErrRefused},
		{ok[:len(ok)-1], io.EOF},
		{"", io.EOF},
		{strings.Replace(ok, "tion/1", "tion/2", 1), ErrRefused},
		{"HTTP/1.1 403 Forbidden\r\n\r\n", ErrRefused},
		{"HTTP/1.1 101 OK\r\n\r\n", ErrRefused},
		{"HTTP/1.1 101 OK\r\nX: " + strings.Repeat("y", maxAnswerBytes), ErrRefused},
	} {
		client, server := net.Pipe()
		request := make(chan string, 1)
		go func() {
			b := make([]byte, 1<<10)
			n, _ := server.Read(b)
			request <- string(b[:n])
			io.WriteString(server, c.answer)
			server.Close()
		}()
		if err := Upgrade(client, "you:1", "me:1"); !errors.Is(err, c.want) {
			t.Errorf("%.80q: %v, want %v", c.answer, err, c.want)
		}
		client.Close()
		want := "GET /internal/replicate HTTP/1.1\r\nHost: you:1\r\nConnection: Upgrade\r\n" +
			"Upgrade: weed-replication/1\r\nFrom: me:1\r\n\r\n"
		if got := <-request; got != want {
			t.Errorf("request %q", got)
		}
	}
	if err := Upgrade(nil, "you:1\r\nX: y", "me:1"); !errors.Is(err, ErrRefused) {
		t.Errorf("a name with a line break: %v", err)
	}
}

// TestSelfIsRefused has a server send to its own address under another name.
func TestSelfIsRefused(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", newInbox(), nil)
	conn, err := net.Dial("tcp", string(n.self))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := Upgrade(conn, n.self, n.self); !errors.Is(err, ErrRefused) {
		t.Errorf("Upgrade: %v", err)
	}
	n.wantServed(t, ErrSelf)
}
