package shell

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"weed/client"
	"weed/internal/wire"
)

// copies is a cluster in one handler: a master, and two volume servers under its address and under another.
type copies struct {
	mu     sync.Mutex
	other  string
	crc    map[string]uint32 // by address
	damage string
	orders []string
}

func (c *copies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/vol/status":
		members := fmt.Sprintf(`"Primary":%q,"Members":[%q,%q],"State":"writable"`, r.Host, r.Host, c.other)
		copy := `{"Id":3,"Size":5000,"Collection":"pics","ReplicaPlacement":{"SameRackCount":1},"Ttl":"",` + members + `}`
		alone := fmt.Sprintf(`{"Id":4,"Size":700,"ReplicaPlacement":{},"Ttl":"","Primary":%q,"Members":[%q],"State":"writable"}`, r.Host, r.Host)
		fmt.Fprintf(w, `{"Volumes":{"DataCenters":{"dc1":{"r1":{%q:[%s,%s],%q:[%s]}}}}}`, r.Host, copy, alone, c.other, copy)
	case wire.PathReplicationStatus:
		fmt.Fprint(w, `{"inSync":true,"committed":5000}`)
	case wire.PathVolumeChecksum:
		fmt.Fprintf(w, `{"length":5000,"crc":%d}`, c.crc[r.Host])
	case wire.PathVolumeScrub:
		c.orders = append(c.orders, r.Method+" "+r.URL.Query().Get("volumeId"))
		fmt.Fprintf(w, `{"volumes":[{"id":3,"bytes":5000,"damaged":[%s]}]}`, c.damage)
	default:
		fmt.Fprint(w, `{}`)
	}
}

func TestVolumeCheck(t *testing.T) {
	c := &copies{crc: map[string]uint32{}}
	front, other := httptest.NewServer(c), httptest.NewServer(c)
	defer front.Close()
	defer other.Close()
	here := front.Listener.Addr().String()
	c.other = other.Listener.Addr().String()
	reach, err := client.New(client.Config{Masters: []string{here}})
	if err != nil {
		t.Fatal(err)
	}
	defer reach.Close()
	var out strings.Builder
	sh := New(Config{Client: reach, Out: &out, Err: &out})
	run := func(line, fails string, says ...string) {
		t.Helper()
		out.Reset()
		if err := sh.Run(bg, line); text(err) != fails {
			t.Errorf("%s: %q, want %q", line, text(err), fails)
		}
		printed := strings.NewReplacer(here, "HERE", c.other, "OTHER").Replace(out.String())
		for _, want := range says {
			if !strings.Contains(strings.Join(strings.Fields(printed), " "), want) {
				t.Errorf("%s printed %s, want %q", line, printed, want)
			}
		}
	}
	run("volume.check", "", "VOLUME COLLECTION COPIES LENGTH STATE SERVERS 3 pics 2 4.9 KiB identical", "4 - 1 4.9 KiB one copy HERE")
	run("volume.check -volumeId=4 -json", "", `[{"id":4,"identical":true,"length":5000,"copies":[{"server":"HERE","length":5000}],"collection":""}]`)
	if len(c.orders) > 0 {
		t.Errorf("scrubs were not asked for: %v", c.orders)
	}
	run("volume.check -scrub 3", "", "3 pics 2 4.9 KiB identical")
	if len(c.orders) != 2 {
		t.Errorf("scrubs: %v", c.orders)
	}
	c.damage = `{"offset":8,"length":24,"reason":"bad"}`
	run("volume.check -scrub 3", "volume.check: 1 of 1 volume: copies differ, are damaged, or could not be compared", "damaged", "Volume 3 on HERE is damaged from byte 8 to 32: bad")
	c.crc[c.other] = 0xab
	run("volume.check", "volume.check: 1 of 2 volumes: copies differ, are damaged, or could not be compared", "different",
		"Volume 3 differs from byte 0 to 5000: HERE has 00000000 OTHER has 000000ab")
	run("volume.check 3 -json", "volume.check: 1 of 1 volume: copies differ, are damaged, or could not be compared", `"identical":false`, `"different":[{"offset":0,"length":5000,"checksums":{`)
	other.Close()
	run("volume.check", "volume.check: 1 of 2 volumes: copies differ, are damaged, or could not be compared", "not compared", "Volume 3 on OTHER: ")
	run("volume.check 9", "volume.check: there is no volume 9")
	run("volume.check x", `volume.check: "x" is no volume id`)
}
