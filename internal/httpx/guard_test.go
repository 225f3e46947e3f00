package httpx

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseGuard(t *testing.T) {
	g, err := ParseGuard(" 10.0.0.0/8, 192.168.1.7,::1 ,fd00::/8,::ffff:172.16.0.0/108,")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "11.0.0.1": false, "192.168.1.7": true, "192.168.1.8": false, "::1": true, "::2": false,
		"fd12::1": true, "::ffff:10.0.0.1": true, "172.16.0.9": true, "172.32.0.1": false, "fd12::1%eth0": true,
	} {
		if got := g.Listed(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if g.Listed(netip.Addr{}) {
		t.Error("an unknown peer is listed")
	}
	for _, bad := range []string{"10.0.0.0/33", "localhost", "1.2.3", "10.0.0.1/8/9", "1.2.3.4 5.6.7.8"} {
		if _, err := ParseGuard(bad); err == nil || !strings.Contains(err.Error(), "-whiteList") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if g, err := ParseGuard(" , "); g != nil || err != nil {
		t.Errorf("an empty list is %v, %v", g, err)
	}
	if !(*Guard)(nil).Listed(netip.Addr{}) {
		t.Error("no guard lets nobody in")
	}
}

func FuzzParseGuard(f *testing.F) {
	for _, s := range []string{"", "10.0.0.0/8", "::1,1.2.3.4", "::ffff:1.2.3.4/100", "fe80::1%eth0", "1/2,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		g, err := ParseGuard(text)
		if err != nil && g != nil {
			t.Error("a guard and an error")
		}
		if g == nil {
			return
		}
		for _, p := range g.prefixes {
			if !p.IsValid() || !g.Listed(p.Addr()) {
				t.Errorf("%v is not listed by %q", p.Addr(), text)
			}
		}
	})
}

func TestGuard(t *testing.T) {
	foreign, _ := ParseGuard("192.0.2.0/24")
	s := start(t, Config{Handler: echoSize(NewBudget(0, 0), 1<<20), Guard: foreign})
	for request, status := range map[string]int{
		"GET /x":                  200,
		"HEAD /x":                 200,
		"OPTIONS /x":              204,
		"GET /administration":     200,
		"GET /admin":              403,
		"GET /admin/x?y":          403,
		"GET //%61dmin/x":         403,
		"GET /x/../internal/beat": 403,
		"GET /debug/pprof/":       403,
		"PUT /x":                  403,
		"DELETE /x":               403,
		"BREW /x":                 403,
	} {
		method, _, _ := strings.Cut(request, " ")
		c := dial(t, s.addr).send(request + " HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
		if r := c.read(method); r.StatusCode != status {
			t.Errorf("%s: status %d, want %d", request, r.StatusCode, status)
		} else if status == 403 && !strings.Contains(r.body, "127.0.0.1") {
			t.Errorf("%s: %q does not say what to do", request, r.body)
		}
	}
	r := dial(t, s.addr).send(putHead(5, "Expect: 100-continue")).read("PUT").want(t, 403)
	if !r.Close {
		t.Error("a refusal before the body leaves the connection open")
	}
	home, _ := ParseGuard("127.0.0.0/8")
	s = start(t, Config{Handler: echoSize(NewBudget(0, 0), 1<<20), Guard: home})
	dial(t, s.addr).send(put(5)+"hello").read("PUT").want(t, 201)
}
