package volume

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"weed/internal/wire"
)

// fakeMaster takes heartbeats and answers lookups.
type fakeMaster struct {
	*httptest.Server

	mu        sync.Mutex
	beats     []wire.Heartbeat
	grown     chan struct{} // closed and replaced with every heartbeat
	reply     func(wire.Heartbeat) (wire.HeartbeatReply, int)
	locations map[string][]string // volume id -> holders
	lookups   int
}

func newFakeMaster(t *testing.T) *fakeMaster {
	m := &fakeMaster{grown: make(chan struct{}), locations: map[string][]string{}}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	return m
}

func (m *fakeMaster) addr() string { return m.Listener.Addr().String() }

func (m *fakeMaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case wire.PathHeartbeat:
		var beat wire.Heartbeat
		if err := json.NewDecoder(r.Body).Decode(&beat); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		m.mu.Lock()
		m.beats = append(m.beats, beat)
		close(m.grown)
		m.grown = make(chan struct{})
		reply, status := wire.HeartbeatReply{Leader: m.addr()}, http.StatusOK
		if m.reply != nil {
			reply, status = m.reply(beat)
		}
		m.mu.Unlock()
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(reply)
	case "/dir/lookup":
		id := r.URL.Query().Get("volumeId")
		m.mu.Lock()
		m.lookups++
		holders := m.locations[id]
		m.mu.Unlock()
		if len(holders) == 0 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"volumeId":%q,"error":"not found"}`, id)
			return
		}
		answer := map[string]any{"volumeId": id}
		list := []map[string]string{}
		for _, h := range holders {
			list = append(list, map[string]string{"url": h, "publicUrl": h})
		}
		answer["locations"] = list
		_ = json.NewEncoder(w).Encode(answer)
	default:
		http.NotFound(w, r)
	}
}

// hold sets the holders of a volume.
func (m *fakeMaster) hold(id string, holders ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locations[id] = holders
}

// answer sets how heartbeats are answered.
func (m *fakeMaster) answer(reply func(wire.Heartbeat) (wire.HeartbeatReply, int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reply = reply
}

// await returns the first heartbeat from the from-th on that is accepted, and its ordinal.
func (m *fakeMaster) await(t *testing.T, from int, accept func(wire.Heartbeat) bool) (wire.Heartbeat, int) {
	t.Helper()
	deadline := time.After(patience)
	for {
		m.mu.Lock()
		beats, grown := m.beats, m.grown
		m.mu.Unlock()
		for ; from < len(beats); from++ {
			if accept(beats[from]) {
				return beats[from], from
			}
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("no such heartbeat among %d", len(beats))
		}
	}
}

func (m *fakeMaster) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.beats)
}
