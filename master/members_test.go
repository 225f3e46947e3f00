package master

import (
	"fmt"
	"net"
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
	if leader = leaderFirst(masters)[0]; leader != heir {
		t.Fatalf("%s leads, not %s", leader.cfg.Address, heir.cfg.Address)
	}
	heir.eventually("the heir to decide", func() bool { return heir.m.leading() != nil })
	heir.post("/cluster/transfer?peer="+heir.cfg.Address).want(t, 200, heir.cfg.Address) // it leads already
	heir.post("/cluster/transfer?peer=127.0.0.1:1").want(t, 404, "not found")

	// A follower that is gone is taken out under a name of its host.
	third = masters[2]
	_, port, _ := net.SplitHostPort(third.cfg.Address)
	third.stop()
	masters[1].post("/cluster/remove?peer=localhost:"+port).want(t, 200, fmt.Sprintf(`{"removed":"%s"}`, third.cfg.Address))
	masters[1].post("/cluster/remove?peer="+third.cfg.Address).want(t, 404, "not found")
	if members = heir.members(); len(members) != 2 {
		t.Fatalf("%+v", members)
	}

	// A leader that takes itself out leaves the rest with another.
	heir.post("/cluster/remove?peer="+heir.cfg.Address).want(t, 200, heir.cfg.Address)
	last := masters[1]
	last.eventually("the last master to lead", func() bool { return last.m.leading() != nil })
	last.post("/cluster/remove?peer="+last.cfg.Address).want(t, 409, "only master")
	last.post("/cluster/transfer").want(t, 409, "no other master")
	if members = last.members(); len(members) != 1 {
		t.Fatalf("%+v", members)
	}
}

func TestClusterTransferToAnyone(t *testing.T) {
	masters := trio(t)
	c, err := client.New(client.Config{Masters: []string{masters[0].cfg.Address}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var was, now string
	for range 5 { // on a busy machine the leader may change by itself between the two calls
		status, err := c.ClusterStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		was = status.Leader
		if now, err = c.TransferLeadership(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if now != was {
			break
		}
	}
	if now == was {
		t.Fatalf("%q leads before and after", now)
	}
	if _, err := c.Grow(t.Context(), 1, client.AssignOptions{}); err == nil || strings.Contains(err.Error(), "503") {
		t.Fatalf("an order right after the change waits for the new leader, who has no servers: %v", err)
	}
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
