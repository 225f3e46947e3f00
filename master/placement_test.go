package master

import (
	"log/slog"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/internal/wire"
)

func TestSpreadKeepsPlacement(t *testing.T) {
	for _, c := range []struct {
		placement string
		at        spread
		want      bool
	}{
		{"000", spread{1, 1, 1}, true},
		{"001", spread{1, 1, 2}, true},
		{"001", spread{2, 2, 2}, true}, // further apart than asked for
		{"001", spread{1, 1, 1}, false},
		{"010", spread{1, 2, 2}, true},
		{"010", spread{1, 1, 2}, false},
		{"100", spread{2, 2, 2}, true},
		{"100", spread{1, 2, 2}, false},
		{"110", spread{2, 3, 3}, true},
		{"110", spread{2, 2, 3}, false},
		{"200", spread{2, 3, 3}, false},
	} {
		p, err := blob.ParsePlacement(c.placement)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.at.keeps(p); got != c.want {
			t.Errorf("%s in %+v: %v", c.placement, c.at, got)
		}
	}
}

// Files of placement 100 are moved from one server to another. Inside a data center that keeps the placement; when
// both copies come to be in one, the log says so.
func TestMovedFilesThatBreakThePlacement(t *testing.T) {
	lines := &logLines{}
	f := start(t, nil)
	f.stop()
	f.log = slog.New(slog.NewTextHandler(lines, nil))
	f.run()
	const warning = "break its placement"
	info := volumeInfo(5, "", func(i *wire.VolumeInfo) { i.ReplicaPlacement.DiffDataCenterCount = 1 })
	pair := func(centers ...string) (servers []*volumeServer) {
		for _, dc := range centers {
			v := f.volumeServer(dc, "r1", 7)
			v.set(info)
			servers = append(servers, v)
		}
		return servers
	}
	move := func(from, to []*volumeServer) {
		for _, v := range from {
			v.hb.Leaving = true
			v.beat(false)
			for _, s := range to {
				s.set(v.copies()[5])
			}
		}
		f.complete(5, to...)
	}
	first, inside, across := pair("dc1", "dc2"), pair("dc1", "dc2"), pair("dc2", "dc2")
	move(nil, first)
	move(first, inside)
	if log := lines.String(); strings.Contains(log, warning) {
		t.Fatal("a move inside of data centers keeps the placement: ", log)
	}
	move(inside, across)
	var said string
	f.eventually("a warning", func() bool {
		for line := range strings.Lines(lines.String()) {
			if strings.Contains(line, warning) {
				said = line
			}
		}
		return said != ""
	})
	for _, want := range []string{"level=WARN", "volume=5", "replication=100", "dataCenters=1", across[0].url, across[1].url} {
		if !strings.Contains(said, want) {
			t.Errorf("the warning lacks %s: %s", want, said)
		}
	}
	if n := strings.Count(lines.String(), warning); n != 1 {
		t.Errorf("%d warnings of one volume", n)
	}
}
