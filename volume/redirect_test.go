package volume

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// talk sends raw bytes over a connection of its own and returns what comes back until the server closes.
func (n *node) talk(text string) string {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		n.t.Fatal(err)
	}
	all, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(all)
}

func TestReadsGoToAHolder(t *testing.T) {
	n := start(t, func(c *Config) { c.URL = "self:1" })
	n.master.hold("9", "self:1", "other:2")
	for _, path := range []string{"/9,01637037d6", "/9,01637037d6.jpg?dl=1&x=%20y", "/9/01637037d6/a%20b%c3%bc.jpg"} {
		for _, method := range []string{"GET", "HEAD"} {
			n.do(method, path, "").want(301).has("Location", "http://other:2"+path).is("")
		}
	}
	// Writes are not redirected.
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		n.do(method, "/9,01637037d6", "x").want(404)
	}
	// Over all holders in turn, never to itself.
	n.master.hold("10", "one:1", "self:1", "two:2")
	seen := map[string]bool{}
	eventually(t, "both holders are named", func() bool {
		seen[n.get("/10,01637037d6").want(301).Header.Get("Location")] = true
		return len(seen) == 2
	})
	for to := range seen {
		if strings.Contains(to, "self") {
			t.Errorf("redirected to %s", to)
		}
	}
	n.master.hold("11", "self:1") // the master is behind
	n.get("/11,01637037d6").want(404)
	n.get("/12,01637037d6").want(404)
	got := n.talk("GET 9,01637037d6 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil); err == nil && resp.StatusCode == 301 {
		if to := resp.Header.Get("Location"); to != "http://other:2/9,01637037d6" {
			t.Errorf("redirected to %s", to)
		}
	}
}

func TestNoRedirectsWhenTheyAreOff(t *testing.T) {
	n := start(t, func(c *Config) { c.ReadRedirect = false })
	n.master.hold("9", "other:2")
	n.get("/9,01637037d6").want(404)
	n.master.mu.Lock()
	defer n.master.mu.Unlock()
	if n.master.lookups != 0 {
		t.Error("the master was asked")
	}
}

func TestNoMasterSaysWhereAVolumeIs(t *testing.T) {
	master := newFakeMaster(t)
	addr := master.addr()
	master.Close()
	n := start(t, func(c *Config) { c.Masters = []string{addr} })
	a := n.get("/9,01637037d6").want(503)
	if a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	n.do("HEAD", "/9,01637037d6", "").want(503)
}

// What is not there, was deleted, has another cookie or lies in an unknown volume looks the same.
func TestNotFoundLooksAlike(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "secret")
	n.put("/3,02637037d6", "deleted")
	n.do("DELETE", "/3,02637037d6", "").want(202)
	n.put("/3,03637037d6", noise(2*copyLimitBytes, 1))
	for _, method := range []string{"GET", "HEAD"} {
		want := ""
		for _, path := range []string{"/3,ff637037d6", "/3,01637037d7", "/3,02637037d6", "/3,02637037d7", "/3,03637037d7", "/77,01637037d6",
			fid[:len(fid)-1] + "7.jpg?dl=1&readDeleted=true", "/3,02637037d6?readDeleted=true"} {
			a := n.do(method, path, "", "Accept-Encoding", "gzip", "Range", "bytes=0-1", "If-None-Match", "*").want(404)
			a.Header.Del("Date")
			got := fmt.Sprint(a.Header, a.body)
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("%s: %s, others %s", path, got, want)
			}
		}
	}
}
