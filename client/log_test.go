package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"weed/internal/wire"
)

// servedLog is a fake volume server that reads its log out.
type servedLog struct {
	logServer
	fails int // status of all reads, 0 for none
}

func (s *servedLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != wire.PathVolumeLog {
		s.logServer.ServeHTTP(w, r)
		return
	}
	q := r.URL.Query()
	var offset, length int64
	_ = json.Unmarshal([]byte(q.Get("offset")), &offset)
	_ = json.Unmarshal([]byte(q.Get("length")), &length)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fails != 0:
		writeError(w, s.fails, "no")
	case q.Get("generation") != s.generation:
		writeError(w, http.StatusConflict, "another generation")
	default:
		_, _ = w.Write(s.log[offset : offset+length])
	}
}

// listed is the /vol/status of a master with volume 3 of collection pics on some servers, the first one the primary.
func listed(servers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		nodes := map[string]any{}
		for _, s := range servers {
			nodes[s] = []any{map[string]any{"Id": 3, "Collection": "pics", "Primary": servers[0], "Members": servers, "State": "writable"}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Volumes": map[string]any{"DataCenters": map[string]any{"d": map[string]any{"r": nodes}}}})
	}
}

func TestVolumeLog(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	primary := &servedLog{logServer: logServer{log: content, generation: "0"}}
	member := &servedLog{logServer: logServer{log: content, generation: "0"}}
	behind := &servedLog{logServer: logServer{log: content[:500], generation: "0"}}
	away := &servedLog{logServer: logServer{log: content, away: true, generation: "0"}}
	var servers []string
	for _, s := range []*servedLog{primary, member, behind, away} {
		servers = append(servers, serve(t, s.ServeHTTP))
	}
	c, _ := newTestClient(t, Config{Masters: []string{serve(t, listed(servers...))}, RetryWait: -1})
	l, err := c.OpenVolumeLog(t.Context(), 3, "pics")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Servers(); l.Length != int64(len(content)) || len(got) != 2 || got[0] != servers[0] || got[1] != servers[1] {
		t.Errorf("%d bytes of %v; the servers are %v", l.Length, got, servers)
	}
	read := func(want error) {
		t.Helper()
		p := make([]byte, 1000)
		if err := l.Read(t.Context(), p, 13); !errors.Is(err, want) || err == nil && !bytes.Equal(p, content[13:1013]) {
			t.Errorf("%v, %.20q", err, p)
		}
	}
	read(nil)
	primary.fails = http.StatusInternalServerError
	read(nil)
	if got := l.Servers(); !slices.Equal(got, []string{servers[1], servers[0]}) {
		t.Errorf("%v are asked", got)
	}
	primary.fails, member.fails = http.StatusServiceUnavailable, http.StatusServiceUnavailable
	read(ErrUnavailable)
	member.fails, member.generation = 0, "1"
	read(ErrCompacted)
	for _, f := range []struct {
		id         uint32
		collection string
	}{{4, "pics"}, {3, ""}} {
		if _, err := c.OpenVolumeLog(t.Context(), f.id, f.collection); !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	for _, s := range []*servedLog{primary, member, behind} {
		s.away = true
	}
	if _, err := c.OpenVolumeLog(t.Context(), 3, "pics"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "not in touch") {
		t.Error(err)
	}
}
