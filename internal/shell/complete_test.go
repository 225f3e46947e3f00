package shell

import (
	"slices"
	"strings"
	"testing"
)

// TestComplete completes at the cursor, which "|" shows.
func TestComplete(t *testing.T) {
	b := newBench(t, nil)
	b.master.others = `,{"Address":"127.0.0.1:1"}`
	for _, c := range []struct{ line, head, candidates, tail string }{
		{"coll|", "", "collection.delete collection.list", ""},
		{"|", "", strings.Join(b.names(), " "), ""},
		{"server.list; cl|", "server.list; ", "cluster.remove cluster.status cluster.transfer", ""},
		{"'cl|", "", "cluster.remove cluster.status cluster.transfer", ""},
		{"x|", "", "", ""},
		{"nosuch |", "nosuch ", "", ""},
		{"vol| -json", "", "volume.adopt volume.balance volume.check volume.export volume.fsck volume.grow volume.list volume.mark volume.move volume.replicate volume.vacuum", " -json"},
		{"é; volume.l|ü", "é; ", "volume.list", "ü"},

		{"volume.mark |", "volume.mark ", "1 3 10", ""},
		{"volume.mark 3 1|", "volume.mark 3 ", "1 10", ""},
		{"volume.mark -readonly |", "volume.mark -readonly ", "1 3 10", ""},
		{"volume.mark -|", "volume.mark ", "-json -readonly -writable", ""},
		{"volume.mark --re|", "volume.mark -", "-readonly", ""},
		{"volume.list -c|", "volume.list ", "-collection=", ""},
		{"volume.list -collection=|", "volume.list -collection=", "pictures", ""},
		{"volume.list -collection |", "volume.list -collection ", "pictures", ""},
		{"volume.list --collection=x|", "volume.list --collection=", "", ""},
		{"volume.list -server=10.0.1|", "volume.list -server=", "10.0.1.1:8080", ""},
		{"volume.list -json=|", "volume.list -json=", "", ""},
		{"volume.list -nosuch=|", "volume.list -nosuch=", "", ""},
		{"volume.grow -dataCenter=|", "volume.grow -dataCenter=", "dc1 dc2", ""},
		{"volume.grow -rack |", "volume.grow -rack ", "r1", ""},
		{"volume.grow -ttl |", "volume.grow -ttl ", "", ""},
		{"volume.grow |", "volume.grow ", "", ""},
		{"collection.delete p|", "collection.delete ", "pictures", ""},
		{"cluster.remove 127.0.0.1:1|", "cluster.remove ", "127.0.0.1:1", ""},
		{"help server|", "help ", "server.drain server.list", ""},
	} {
		left, right, _ := strings.Cut(c.line, "|")
		head, candidates, tail := b.Complete(bg, left+right, len([]rune(left)))
		got := ""
		for _, candidate := range candidates {
			got += strings.TrimSuffix(candidate, " ") + " "
		}
		if c.line == "cluster.remove 127.0.0.1:1|" { // the other master's port may begin alike
			got = strings.Join(slices.DeleteFunc(strings.Fields(got), func(s string) bool { return s == b.master.address }), " ")
		}
		if got = strings.TrimSpace(got); head != c.head || got != c.candidates || tail != c.tail {
			t.Errorf("%s: %q %q %q, want %q %q %q", c.line, head, got, tail, c.head, c.candidates, c.tail)
		}
	}
}

func TestCompleteWithoutMasters(t *testing.T) {
	b := newBench(t, nil)
	b.master.set(func() { b.master.status["/vol/status"] = 500 })
	if _, candidates, _ := b.Complete(bg, "volume.mark ", 12); len(candidates) > 0 {
		t.Error(candidates)
	}
	if _, candidates, _ := b.Complete(bg, "volume.mark -r", 99); len(candidates) != 1 {
		t.Error(candidates)
	}
}
