package client

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"weed/internal/wire"
)

// logServer is a fake volume server with one log, of which it sums up at most a part in one answer.
type logServer struct {
	generation string // of its file
	mu         sync.Mutex
	log        []byte
	away       bool // not in sync
	busy       int  // answers of 503 to come
	asked      int  // checksums
	polls      int  // until the scrub is done
	scrubs     []string
	damage     []wire.DamagedRange
}

// logServerPart is how many bytes it sums up in one answer.
const logServerPart = 40 << 20

func (s *logServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy > 0 {
		s.busy--
		w.Header().Set("Retry-After", "1")
		writeError(w, 503, "busy")
		return
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		return n
	}
	var answer any
	switch r.URL.Path {
	case wire.PathReplicationStatus:
		answer = wire.ReplicationStatus{InSync: !s.away, Committed: int64(len(s.log)), Generation: s.generation}
	case wire.PathVolumeChecksum:
		s.asked++
		offset, length := number("offset"), number("length")
		if offset+length > int64(len(s.log)) {
			writeError(w, 416, "not all committed here")
			return
		}
		length = min(length, logServerPart)
		crc := crc32.Update(uint32(number("crc")), crc32.MakeTable(crc32.Castagnoli), s.log[offset:offset+length])
		answer = wire.LogChecksum{Length: length, CRC: crc, Generation: s.generation}
	case wire.PathVolumeScrub:
		s.scrubs = append(s.scrubs, r.Method+" "+r.URL.Query().Get("volumeId"))
		s.polls--
		answer = wire.ScrubStatus{Volumes: []wire.VolumeScrub{{ID: 3, Pending: s.polls > 0, Bytes: 77, Mended: 5, Damaged: s.damage}}}
	default:
		writeError(w, 404, "no such path")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// logServers starts servers with copies of one log of 150 MB, and returns the volume that they hold.
func logServers(t *testing.T, n int) (*Client, *Volume, []*logServer) {
	t.Helper()
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.clock = &waits{}
	t.Cleanup(func() { c.Close() })
	log := make([]byte, 150<<20)
	for i := range log {
		log[i] = byte(i>>13) ^ byte(i)
	}
	v := &Volume{ID: 3}
	var servers []*logServer
	for range n {
		s := &logServer{log: log}
		front := httptest.NewServer(s)
		t.Cleanup(front.Close)
		servers = append(servers, s)
		v.Copies = append(v.Copies, VolumeCopy{Server: front.Listener.Addr().String()})
	}
	return c, v, servers
}

// waits is a clock on which all sleep is over at once.
type waits struct{ systemClock }

func (*waits) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestCheckVolume(t *testing.T) {
	c, v, servers := logServers(t, 3)
	v.Copies = append(v.Copies, VolumeCopy{Server: "127.0.0.1:1", Stray: true})
	servers[1].busy = 1
	servers[2].log = servers[2].log[:149<<20] // it will learn soon that more is committed
	check, err := c.CheckVolume(t.Context(), v)
	if err != nil || !check.Identical || check.Length != 149<<20 || len(check.Copies) != 3 || check.Copies[0].Length != 150<<20 {
		t.Fatalf("%+v, %v", check, err)
	}
	if asked := servers[0].asked; asked != 5 { // 40 + 24, 40 + 24, 21
		t.Errorf("asked %d times", asked)
	}

	servers[2].log = slices.Clone(servers[2].log)
	servers[2].log[70<<20] ^= 4
	check, err = c.CheckVolume(t.Context(), v)
	if err != nil || check.Identical || len(check.Different) != 1 || check.Different[0].Offset != 64<<20 || check.Different[0].Length != 64<<20 {
		t.Fatalf("%+v, %v", check, err)
	}
	if sums := check.Different[0].Checksums; len(sums) != 3 || sums[v.Copies[0].Server] != sums[v.Copies[1].Server] ||
		sums[v.Copies[0].Server] == sums[v.Copies[2].Server] {
		t.Errorf("%v", sums)
	}

	servers[2].generation = "1-200-0"
	check, err = c.CheckVolume(t.Context(), v)
	if err != nil || check.Identical || len(check.Different) != 0 || check.Copies[1].Error != "" || check.Copies[2].Error != errGeneration.Error() {
		t.Errorf("%+v, %v", check, err)
	}
	servers[2].generation = ""

	servers[2].away = true
	check, err = c.CheckVolume(t.Context(), v)
	if err != nil || check.Identical || len(check.Different) != 0 || check.Length != 150<<20 || check.Copies[2].Error != errNotInSync.Error() {
		t.Errorf("%+v, %v", check, err)
	}

	v.Copies[2].Server = "127.0.0.1:1" // nobody is there
	if check, err = c.CheckVolume(t.Context(), v); err != nil || check.Identical || check.Copies[2].Error == "" {
		t.Errorf("%+v, %v", check, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if check, err = c.CheckVolume(ctx, v); !errors.Is(err, context.Canceled) || check.Identical {
		t.Errorf("%+v, %v", check, err)
	}
}

func TestCheckOfTheOnlyCopyReadsNothing(t *testing.T) {
	c, v, servers := logServers(t, 1)
	check, err := c.CheckVolume(t.Context(), v)
	if err != nil || !check.Identical || check.Length != 150<<20 || servers[0].asked != 0 {
		t.Errorf("%+v, %v, asked %d times", check, err, servers[0].asked)
	}
	if check, err = c.CheckVolume(t.Context(), &Volume{ID: 4}); err != nil || check.Identical {
		t.Errorf("no copy: %+v, %v", check, err)
	}
}

func TestScrubVolume(t *testing.T) {
	c, v, servers := logServers(t, 1)
	servers[0].polls = 3
	servers[0].damage = []wire.DamagedRange{{Offset: 8, Length: 16, Reason: "bad"}}
	s, err := c.ScrubVolume(t.Context(), v.Copies[0].Server, 3)
	if err != nil || s.Server != v.Copies[0].Server || s.Bytes != 77 || s.Mended != 5 || len(s.Damaged) != 1 || s.Damaged[0].Offset != 8 {
		t.Errorf("%+v, %v", s, err)
	}
	if want := []string{"POST 3", "GET 3", "GET 3"}; !slices.Equal(servers[0].scrubs, want) {
		t.Errorf("asked %v, want %v", servers[0].scrubs, want)
	}
	if _, err := c.ScrubVolume(t.Context(), "127.0.0.1:1", 3); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}
