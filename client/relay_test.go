package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
)

// tcpPair returns the two ends of a connection.
func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	one, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close(); other.Close() })
	return one.(*net.TCPConn), other.(*net.TCPConn)
}

// relayed relays a download and returns what has arrived, and the error that ended it.
func relayed(t *testing.T, addr string, first int) (sent int64, got []byte, err error) {
	t.Helper()
	m := &fakeMaster{}
	m.place("3", addr)
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	d, err := c.Download(bg, fid1, DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	to, client := tcpPair(t)
	arrived := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(client)
		arrived <- all
	}()
	head := make([]byte, first) // what net/http looks at
	if _, err := io.ReadFull(d, head); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		var n int64
		if n, err = d.Relay(to, 100_000); n > 100_000 {
			t.Fatalf("%d bytes at once", n)
		}
		sent += n
	}
	to.Close()
	return sent, slices.Concat(head, <-arrived), err
}

func TestRelay(t *testing.T) {
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(i * i >> 8)
	}
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	chunked := fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	for name, text := range map[string]string{"length": whole, "chunked": chunked} {
		for _, first := range []int{0, 512} {
			sent, got, err := relayed(t, serveOnce(t, text), first)
			if err != io.EOF || sent != int64(len(body)-first) || !bytes.Equal(got, body) {
				t.Errorf("%s: %d bytes were sent, %d have arrived, %v", name, sent, len(got), err)
			}
		}
	}
	for name, text := range map[string]string{"length": whole[:2<<20], "chunked": chunked[:2<<20]} {
		sent, got, err := relayed(t, serveOnce(t, text), 0)
		var receiver *ReceiverError
		if err == nil || errors.Is(err, io.EOF) || errors.As(err, &receiver) {
			t.Errorf("%s, broken off: %v", name, err)
		}
		if sent != int64(len(got)) || !bytes.HasPrefix(body, got) {
			t.Errorf("%s, broken off: %d bytes were sent, %d have arrived", name, sent, len(got))
		}
	}
}

func TestRelayToOneWhoIsGone(t *testing.T) {
	text := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", 64<<20, make([]byte, 64<<20))
	m := &fakeMaster{}
	m.place("3", serveOnce(t, text))
	c, _ := newTestClient(t, Config{Masters: []string{m.serve(t)}})
	to, client := tcpPair(t)
	client.Close()
	// A reset may be taken for the download's once: then the next one tells.
	var receiver *ReceiverError
	for range 2 {
		d, err := c.Download(bg, fid1, DownloadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = d.Relay(to, 1<<20)
		}
		if _, again := d.Relay(to, 1); again != err {
			t.Errorf("after the error: %v, want %v", again, err)
		}
		if d.Close(); errors.As(err, &receiver) {
			return
		}
		if err == io.EOF {
			t.Fatal("all was sent to one who is gone")
		}
	}
	t.Error("the receiver is never told to be gone")
}
