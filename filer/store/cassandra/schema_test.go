package cassandra

import (
	"strings"
	"testing"

	"weed/filer/store"
	"weed/filer/store/storetest"
)

// TestLocalDC lets the copies of one data center decide, which all filers of a tree have to agree on.
func TestLocalDC(t *testing.T) {
	const here = "datacenter1"
	local := newKeyspace(t)
	local.LocalDC = here
	s := open(t, local)
	put(t, s, "/f", 0, "x", store.Effects{})
	if rec, err := open(t, local).Find(t.Context(), "/f"); err != nil || string(rec.Value) != "x" {
		t.Errorf("%+v, %v", rec, err)
	}
	everywhere := local
	everywhere.LocalDC = ""
	simple := newKeyspace(t)
	open(t, simple)
	simple.LocalDC = here
	elsewhere := local
	elsewhere.LocalDC = "nowhere"
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{everywhere, `let the copies of data center "datacenter1" decide`},
		{simple, "no copies of its own in data center datacenter1"},
		{elsewhere, "nodes of data center nowhere only"},
	} {
		s, err := Open(t.Context(), c.cfg, storetest.Options())
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.cfg.LocalDC, err, c.want)
		}
	}
}
