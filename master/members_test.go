package master

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"weed/client"
	"weed/internal/freeport"
	"weed/internal/httpx"
)

// members are the masters as one of them reports them, by address.
func (f *fixture) members() map[string]memberReport {
	f.Helper()
	var status struct{ Members []memberReport }
	f.get("/cluster/status").want(f, 200, "").into(f, &status)
	byAddress := map[string]memberReport{}
	for _, m := range status.Members {
		byAddress[m.Address] = m
	}
	return byAddress
}

// insist posts until there is a leader: on a busy machine one may lose its lease for a moment, with one master gone.
func (f *fixture) insist(path string) (r reply) {
	f.Helper()
	f.eventually("a leader", func() bool {
		r = f.post(path)
		return r.status != http.StatusServiceUnavailable
	})
	return r
}

func TestClusterTransferAndRemove(t *testing.T) {
	masters := trio(t)
	leader, heir, third := masters[0], masters[1], masters[2]
	members := third.members()
	if len(members) != 3 || !members[leader.cfg.Address].Leader || members[heir.cfg.Address].Leader || !members[heir.cfg.Address].Voter {
		t.Fatalf("%+v", members)
	}

	// A follower passes it on; parameters may stand in a form.
	contentType, body := form(map[string][]string{"peer": {heir.cfg.Address}})
	third.do("POST", "/cluster/transfer", contentType, body).want(t, 200, fmt.Sprintf(`{"leader":"%s"}`, heir.cfg.Address))
	if heir.m.leading() == nil || leader.m.leading() != nil || third.m.leading() != nil {
		t.Fatal("the heir is said to lead, and does not, or not alone")
	}
	leaderFirst(masters)
	heir.post("/cluster/transfer?peer="+heir.cfg.Address).want(t, 200, heir.cfg.Address) // it leads already
	heir.post("/cluster/transfer?peer=127.0.0.1:1").want(t, 404, "not found")

	// A follower that is gone is taken out under a name of its host.
	third = masters[2]
	_, port, _ := net.SplitHostPort(third.cfg.Address)
	third.stop()
	masters[1].insist("/cluster/remove?peer=localhost:"+port).want(t, 200, fmt.Sprintf(`{"removed":"%s"}`, third.cfg.Address))
	masters[1].insist("/cluster/remove?peer="+third.cfg.Address).want(t, 404, "not found")
	if members = heir.members(); len(members) != 2 {
		t.Fatalf("%+v", members)
	}

	// A leader that takes itself out leaves the rest with another.
	heir.insist("/cluster/remove?peer="+heir.cfg.Address).want(t, 200, fmt.Sprintf(`{"removed":"%s"}`, heir.cfg.Address))
	last := masters[1]
	if last.m.leading() == nil {
		t.Fatal("the last master does not lead")
	}
	last.post("/cluster/remove?peer="+last.cfg.Address).want(t, 409, "only master")
	last.post("/cluster/transfer").want(t, 409, "no other master")
	if members = last.members(); len(members) != 1 {
		t.Fatalf("%+v", members)
	}
}

func TestClusterTransferToAnyone(t *testing.T) {
	masters := trio(t)
	was := masters[0].cfg.Address
	c, err := client.New(client.Config{Masters: []string{was}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	now, err := c.TransferLeadership(t.Context(), "")
	if err != nil || now == was {
		t.Fatalf("%q leads, %v", now, err)
	}
	if _, err := c.Grow(t.Context(), 1, client.AssignOptions{}); err == nil || strings.Contains(err.Error(), "503") {
		t.Fatalf("an order right after the change waits for the new leader, who has no servers: %v", err)
	}
}

// A master that hands over decides nothing meanwhile, and goes on if nobody takes over.
func TestHandOverThatFails(t *testing.T) {
	masters := trio(t)
	leader, follower, away := masters[0], masters[1], masters[2]
	v := leader.joined("dc1", "r1", 28)
	leader.assign("")
	away.stop()
	for range 3 {
		if r := follower.post("/cluster/transfer?peer="+away.cfg.Address).want(t, 503, "leader"); r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		leader.assign("")
		follower.assign("")
	}
	term := leader.m.term.Load()
	term.yielding.Store(true)
	for _, f := range masters[:2] {
		if r := f.get("/dir/assign").want(t, 503, "leader"); r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if _, err := term.handOver(t.Context(), ""); !errors.Is(err, errNoLeader) {
		t.Error("handed over twice at a time:", err)
	}
	term.yielding.Store(false)
	leader.assign("")
	if v.made() != 7 {
		t.Errorf("%d volumes were made", v.made())
	}
	leader.post("/cluster/transfer").want(t, 200, follower.cfg.Address) // to the one that is there
}

func TestClusterChangesRefused(t *testing.T) {
	f := start(t, nil)
	f.post("/cluster/remove").want(t, 400, "peer")
	f.post("/cluster/remove?peer="+f.cfg.Address).want(t, 409, "only master")
	f.post("/cluster/remove?peer=nonsense").want(t, 404, "not found")
	f.post("/cluster/transfer").want(t, 409, "no other master")
	for _, path := range []string{"/cluster/remove", "/cluster/transfer", "/vol/mark"} {
		if allow := f.get(path).want(t, 405, "").header.Get("Allow"); !strings.Contains(allow, "POST") {
			t.Errorf("%s allows %q", path, allow)
		}
	}
	lone := start(t, func(c *Config) { c.Peers = []string{freeport.Addr(t), freeport.Addr(t)} })
	guard, err := httpx.ParseGuard("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	guarded := start(t, func(c *Config) { c.Guard = guard })
	for _, path := range []string{"/cluster/remove?peer=a:1", "/cluster/transfer", "/vol/mark?volumeId=1&readonly=true"} {
		if r := lone.post(path).want(t, 503, "leader"); r.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
		guarded.post(path).want(t, 403, "whiteList")
	}
}
