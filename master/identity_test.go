package master

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"weed/internal/wire"
)

// twins are two servers of one address: the first has a volume, the second has none.
type twins struct {
	*fixture
	log  *logLines
	a, b *wire.Heartbeat
}

func startTwins(t *testing.T) *twins {
	log := &logLines{}
	f := start(t, func(c *Config) { c.Pulse = time.Second })
	f.stop()
	f.log = slog.New(slog.NewTextHandler(log, nil))
	f.run()
	v := f.volumeServer("dc1", "r1", 7)
	a := v.hb
	a.Volumes = []wire.VolumeInfo{volumeInfo(3, "c", nil)}
	b := v.hb
	b.Incarnation++
	return &twins{fixture: f, log: log, a: &a, b: &b}
}

// beat sends a heartbeat, with everything or with no news.
func (f *twins) beat(hb *wire.Heartbeat, full bool) reply {
	f.Helper()
	hb.Sequence++
	sent := *hb
	if sent.Full = full; !full {
		sent.Volumes = nil
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(sent); err != nil {
		f.Fatal(err)
	}
	return f.do("POST", wire.PathHeartbeat, "application/json", b.String())
}

func (f *twins) complaints() int {
	return strings.Count(f.log.String(), "two volume servers report as one address")
}

func TestTwoServersOfOneAddress(t *testing.T) {
	f := startTwins(t)
	f.beat(f.a, true).want(t, 200, "")
	f.beat(f.b, true).want(t, 200, "") // may be a restart
	f.beat(f.a, false).want(t, 200, `"resend":true`)
	if f.complaints() != 0 {
		t.Fatal("what was under way when a server was restarted is no second server")
	}
	f.beat(f.b, false).want(t, 200, "")
	f.beat(f.a, true).want(t, 200, "")
	for range 3 {
		r := f.beat(f.b, true).want(t, 409, "another volume server reports as "+f.a.URL)
		if !strings.Contains(r.body, "-ip and -port") {
			t.Fatal(r.body)
		}
		f.beat(f.a, false).want(t, 200, "")
		f.clock.advance(2 * f.cfg.Pulse)
	}
	if f.complaints() != 1 {
		t.Fatalf("%d complaints:\n%s", f.complaints(), f.log)
	}
	f.get("/vol/status").want(t, 200, `"Id":3`)

	// The one that is refused is taken in when the other one is silent, and then has the address.
	f.clock.advance(f.cfg.Pulse)
	f.beat(f.b, true).want(t, 200, "")
	f.beat(f.b, false).want(t, 200, "")
}

// A goodbye makes room at once, but only that of the server that has the address.
func TestGoodbyeEndsADispute(t *testing.T) {
	f := startTwins(t)
	for _, hb := range []*wire.Heartbeat{f.a, f.b, f.a, f.a} {
		f.beat(hb, true).want(t, 200, "")
	}
	f.b.Leaving = true
	f.beat(f.b, false).want(t, 200, "")
	f.b.Leaving = false
	f.beat(f.b, true).want(t, 409, "")
	f.a.Leaving = true
	f.beat(f.a, false).want(t, 200, "")
	f.beat(f.b, true).want(t, 200, "")
}

// A leader that begins may hear first of the server that was refused: the one that has the volumes gets the
// address.
func TestTwoServersAndANewLeader(t *testing.T) {
	f := startTwins(t)
	f.beat(f.a, true).want(t, 200, "")
	f.stop()
	f.run()
	f.beat(f.b, true).want(t, 200, "")
	f.beat(f.a, true).want(t, 200, "")
	f.beat(f.b, true).want(t, 200, `"resend":true`)
	f.beat(f.b, true).want(t, 409, "")
	f.beat(f.a, false).want(t, 200, "")
	if f.complaints() != 1 {
		t.Fatalf("%d complaints:\n%s", f.complaints(), f.log)
	}
}

// However often and quickly a server is restarted, it is taken in.
func TestQuickRestarts(t *testing.T) {
	f := startTwins(t)
	f.beat(f.a, true).want(t, 200, "")
	for range 3 * maxFormer {
		before := *f.a
		f.a.Incarnation, f.a.Sequence = f.a.Incarnation+1, 0
		f.beat(f.a, true).want(t, 200, "")
		f.beat(&before, false).want(t, 200, `"resend":true`) // was overtaken
		f.beat(f.a, false).want(t, 200, "")
	}
	if f.complaints() != 0 {
		t.Fatal(f.log)
	}
}

func TestSharedPublicAddress(t *testing.T) {
	f := startTwins(t)
	f.beat(f.a, true).want(t, 200, "")
	for i, row := range []struct {
		url, public string
		warned      bool
	}{
		{"127.0.0.1:2001", "127.0.0.1:2001", false},
		{"127.0.0.1:2002", "pub:80", false},
		{"127.0.0.1:2003", "pub:80", true},
		{"127.0.0.1:2004", "127.0.0.1:2001", true},
		{"pub:80", "", true},
	} {
		before := strings.Count(f.log.String(), "two volume servers have one public address")
		hb := wire.Heartbeat{URL: row.url, PublicURL: row.public, Max: 1, Incarnation: uint64(100 + i)}
		f.beat(&hb, true).want(t, 200, "")
		f.beat(&hb, false).want(t, 200, "")
		if now := strings.Count(f.log.String(), "two volume servers have one public address"); now-before > 1 || now > before != row.warned {
			t.Errorf("%+v: %d warnings", row, now-before)
		}
	}
}
