package link

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestBackoff checks the pauses between attempts that fail, on a clock of its own.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := make(chan time.Duration, 100)
		began := time.Now()
		l := New(Config{Self: "me:1", Source: patternLogs{}, Handler: newInbox(), Dial: func(context.Context, string) (net.Conn, error) {
			at <- time.Since(began)
			return nil, errors.New("nobody there")
		}})
		defer l.Close()
		for range 40 { // 4 s, with something to send all the time
			l.Send("you:1", ackOf(1, 1))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		// 50 ms, then twice as much each time, up to 1 s
		const ms = time.Millisecond
		for _, want := range []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 2550 * ms, 3550 * ms} {
			if got := <-at; got != want {
				t.Errorf("an attempt at %v, want %v", got, want)
			}
		}
		time.Sleep(time.Minute)
		if synctest.Wait(); len(at) > 1 {
			t.Errorf("%d attempts with nothing to send", len(at))
		}
	})
}

// pipeTo returns a Dial whose connections another goroutine reads.
func pipeTo(read func(net.Conn)) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			theirs.Read(make([]byte, 1<<10))
			io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: "+Protocol+"\r\n\r\n")
			read(theirs)
		}()
		return ours, nil
	}
}

// TestSlowPeerIsKept has a peer read a long frame much slower than StallTimeout, but steadily.
func TestSlowPeerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := 0
		l := New(Config{Self: "me:1", Source: patternLogs{}, Handler: newInbox(), Dial: pipeTo(func(conn net.Conn) {
			for {
				n, err := conn.Read(make([]byte, 4<<10))
				if read += n; err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})})
		defer l.Close()
		l.Send("you:1", appendOf(1, 8, 1<<20))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if want := headBytes + messageBytes + 1<<20; read != want {
			t.Errorf("%d bytes were read, want %d", read, want)
		}
		if p := l.Peers()[0]; !p.Connected || p.Frames != 1 || p.Dropped != 0 {
			t.Errorf("%+v", p)
		}
	})
}

// TestStalledPeerIsLeft has a peer read the first bytes only.
func TestStalledPeerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Self: "me:1", Source: patternLogs{}, Handler: newInbox(), Dial: pipeTo(func(conn net.Conn) {
			conn.Read(make([]byte, 100))
			time.Sleep(time.Minute)
		})})
		defer time.Sleep(2 * time.Minute) // until the peers are done
		defer l.Close()
		l.Send("you:1", appendOf(1, 8, 1<<20))
		synctest.Wait()
		l.Send("you:1", ackOf(1, 1), ackOf(1, 2))
		time.Sleep(2 * time.Second)
		if p := l.Peers()[0]; !p.Connected || p.Queued != 2 {
			t.Errorf("after 2 s: %+v", p)
		}
		time.Sleep(9 * time.Second)
		if p := l.Peers()[0]; p.Queued != 0 || p.Dropped != 3 || p.Frames != 0 {
			t.Errorf("after 11 s: %+v", p)
		}
	})
}
