package volume

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weed/internal/freeport"
	"weed/internal/vfs"
	"weed/internal/wire"
	"weed/storage"
)

// decider is a master that decides on configurations.
type decider struct {
	*fakeMaster
	mu      sync.Mutex
	inForce wire.VolumeConfig
	asleep  bool // it decides nothing
	keeps   bool // it leaves nobody out, so that a machine that is too busy for leases does no harm
}

func (d *decider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != wire.PathConfigure {
		d.fakeMaster.ServeHTTP(w, r)
		return
	}
	var asked wire.VolumeConfig
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asleep || d.keeps && len(asked.Members) < len(d.inForce.Members) {
		http.Error(w, "asleep", http.StatusServiceUnavailable)
		return
	}
	if asked.Epoch == d.inForce.Epoch+1 {
		asked.Copies = d.inForce.Copies
		d.inForce = asked
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.inForce)
}

// twins is two servers that hold volume 3, with their logs.
type twins struct {
	t     *testing.T
	nodes [2]*node
	by    *decider
	dirs  [2]string
	cfg   [2]func(*Config)
}

// pairUp starts the servers; change may alter the configuration of the second.
func pairUp(t *testing.T, change func(*Config)) *twins {
	t.Helper()
	return pairUpWith(t, "", func(i int, c *Config) {
		if i == 1 && change != nil {
			change(c)
		}
	})
}

// pairUpWith starts the servers, with a ttl of the volume.
func pairUpWith(t *testing.T, ttl string, change func(i int, c *Config)) *twins {
	t.Helper()
	d := &decider{fakeMaster: newFakeMaster(t), keeps: true}
	front := httptest.NewServer(d)
	t.Cleanup(front.Close)
	d.reply = func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{Leader: front.Listener.Addr().String()}, http.StatusOK
	}
	p := &twins{t: t, by: d}
	d.inForce = wire.VolumeConfig{ID: 3, Epoch: 1, Copies: 2}
	for i := range p.nodes {
		addr := freeport.Addr(t)
		d.inForce.Members = append(d.inForce.Members, addr)
		p.dirs[i] = t.TempDir()
		p.cfg[i] = func(c *Config) {
			c.Bind, c.Masters, c.Lease = addr, []string{front.Listener.Addr().String()}, 500*time.Millisecond
			c.Dirs = []storage.Directory{{Path: p.dirs[i], MaxVolumes: 7}}
			change(i, c)
		}
		p.nodes[i] = run(t, p.cfg[i])
	}
	d.inForce.Primary = d.inForce.Members[0]
	order, _ := json.Marshal(wire.CreateVolume{ID: 3, Replication: "001", TTL: ttl, Config: &d.inForce})
	for _, n := range p.nodes {
		n.do("POST", wire.PathVolumeCreate, string(order)).want(200)
	}
	eventually(t, "both copies take part", func() bool {
		a := p.nodes[0].do("PUT", "/3,ff637037d6", "first")
		b := p.nodes[1].get("/3,ff637037d6")
		return a.StatusCode == 201 && b.StatusCode == 200
	})
	d.keep(false)
	return p
}

// restart stops both servers, and starts them again after change was made to their files. Neither goes on alone.
func (p *twins) restart(change func()) {
	p.t.Helper()
	p.by.sleep(true)
	for _, n := range p.nodes {
		n.stop()
	}
	change()
	for i := range p.nodes {
		p.nodes[i] = run(p.t, p.cfg[i])
	}
	p.by.sleep(false)
	eventually(p.t, "both copies take part", func() bool {
		for _, n := range p.nodes {
			if r := n.node.Replica(3); r == nil || !r.Status().InSync || !r.Readable() {
				return false
			}
		}
		return true
	})
}

func (d *decider) keep(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keeps = on
}

func (d *decider) sleep(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asleep = on
}

func (p *twins) dat(i int) string { return filepath.Join(p.dirs[i], "3.dat") }

// same waits until both logs are the same, for what is committed reaches the second a little later.
func (p *twins) same() {
	p.t.Helper()
	eventually(p.t, "the logs are the same", func() bool {
		a, errA := os.ReadFile(p.dat(0))
		b, errB := os.ReadFile(p.dat(1))
		return errA == nil && errB == nil && bytes.Equal(a, b)
	})
}

// scrub orders a scrub of a volume and waits for its end.
func (n *node) scrubNow(id uint32) wire.VolumeScrub {
	n.t.Helper()
	path := fmt.Sprintf("%s?volumeId=%d", wire.PathVolumeScrub, id)
	n.do("POST", path, "").want(200)
	var status wire.ScrubStatus
	eventually(n.t, "the scrub ends", func() bool {
		status = wire.ScrubStatus{}
		n.get(path).want(200).json(&status)
		return len(status.Volumes) == 1 && !status.Volumes[0].Pending
	})
	return status.Volumes[0]
}

func TestReadOfADamagedCopyIsMended(t *testing.T) {
	p := pairUp(t, nil)
	for i, size := range []int{1000, copyLimitBytes + 1, 3 << 20} {
		content := noise(size, uint32(i+1))
		p.nodes[0].put(fid, content, "Seaweed-Owner", "me")
		for _, request := range [][]string{{"GET"}, {"HEAD"}, {"GET", "Range", "bytes=5-9"}} {
			for at, n := range p.nodes {
				p.same()
				flip(t, p.dat(at), content)
				a := n.do(request[0], fid, "", request[1:]...).has("Owner", "me")
				switch {
				case len(request) > 1:
					a.want(206).is(content[5:10])
				case request[0] == "GET":
					a.want(200).is(content)
				default:
					a.want(200)
				}
				p.same()
			}
		}
	}
	p.nodes[1].get("/metrics").says("weed_volume_damage_mended_total 9\n").says("weed_volume_damaged_ranges 0\n")
}

// Many readers of a damaged blob fetch it once.
func TestReadersOfADamagedCopyMendItOnce(t *testing.T) {
	p := pairUp(t, nil)
	content := noise(2<<20, 1)
	p.nodes[0].put(fid, content)
	p.same()
	flip(t, p.dat(1), content)
	var readers sync.WaitGroup
	for range 12 {
		readers.Go(func() {
			if a, err := p.nodes[1].try("GET", fid, nil); err != nil || a.StatusCode != 200 || a.body != content {
				t.Errorf("%v, %v", a, err)
			}
		})
	}
	readers.Wait()
	p.same()
	p.nodes[1].get("/metrics").says("weed_volume_damage_mended_total 1\n")
}

func TestChunksOfADamagedCopyAreMended(t *testing.T) {
	p := pairUp(t, nil)
	content := noise(5000, 1)
	p.nodes[0].put("/3,02637037d6", content)
	p.nodes[0].put(fid+"?cm=true", `{"name":"x.bin","size":5000,"chunks":[{"fid":"3,02637037d6","offset":0,"size":5000}]}`)
	p.same()
	flip(t, p.dat(1), content)
	p.nodes[1].get(fid).want(200).is(content)
	p.same()
}

// Where all copies are damaged there is nothing to mend from, and nothing is served.
func TestDamageOfAllCopies(t *testing.T) {
	p := pairUp(t, nil)
	content := noise(3000, 1)
	p.nodes[0].put(fid, content)
	p.same()
	flip(t, p.dat(0), content)
	flip(t, p.dat(1), content[:1000])
	var before [2][]byte
	for i := range before {
		before[i], _ = os.ReadFile(p.dat(i))
	}
	for i, n := range p.nodes {
		n.get(fid).want(500).says("damaged").has("ETag", "")
		if s := n.scrubNow(3); len(s.Damaged) != 1 || s.Mended != 0 {
			t.Errorf("%+v", s)
		}
		n.get("/metrics").says("weed_volume_damaged_ranges 1\n")
		if after, _ := os.ReadFile(p.dat(i)); !bytes.Equal(before[i], after) {
			t.Error("bytes were changed")
		}
	}
	// A new version is as good as ever.
	p.nodes[0].put(fid, "new")
	p.nodes[1].get(fid).want(200).is("new")
}

// A disk that takes no writes any more does not keep the other copy from answering.
func TestDamageThatCantBeMendedIsAnsweredByAnother(t *testing.T) {
	disk := vfs.NewMem()
	p := pairUp(t, func(c *Config) {
		c.FS, c.Dirs = disk, []storage.Directory{{Path: "/data", MaxVolumes: 7}}
	})
	content := noise(3000, 1)
	p.nodes[0].put(fid, content, "Seaweed-Owner", "me", "Content-Type", "text/css")
	p.nodes[1].get(fid).want(200)
	log, err := os.ReadFile(p.dat(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Corrupt("/data/3.dat", int64(bytes.Index(log, []byte(content))+100), 1); err != nil {
		t.Fatal(err)
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("3.dat", vfs.OpWrite) {
			return syscall.EIO
		}
		return nil
	})
	defer disk.SetFault(nil)
	want := p.nodes[0].get(fid).want(200)
	for _, request := range [][]string{{"GET"}, {"HEAD"}, {"GET", "Range", "bytes=5-9"}, {"GET", "If-None-Match", want.Header.Get("ETag")}} {
		same := p.nodes[0].do(request[0], fid, "", request[1:]...)
		a := p.nodes[1].do(request[0], fid, "", request[1:]...).want(same.StatusCode).is(same.body)
		for _, name := range []string{"ETag", "Owner", "Content-Type", "Content-Length", "Content-Range", "Last-Modified", "Accept-Ranges"} {
			a.has(name, same.Header.Get(name))
		}
	}
	p.nodes[1].get(fid, passedOnHeader, "1").want(500).says("damaged")
	p.nodes[1].get("/3,0163703700").want(404)
}

func TestScrubMendsFromTheOtherCopy(t *testing.T) {
	p := pairUp(t, nil)
	var contents []string
	for i := range 30 {
		contents = append(contents, noise(500+i*997, uint32(i+1)))
		p.nodes[i%2].put(fmt.Sprintf("/3,%02x637037d6", i+1), contents[i])
	}
	p.nodes[0].do("DELETE", "/3,05637037d6", "").want(202)
	p.same()
	for i := range 15 {
		flip(t, p.dat(i%2), contents[i])
	}
	for at, want := range []uint64{8, 7} {
		if s := p.nodes[at].scrubNow(3); s.Mended != want || len(s.Damaged) != 0 || s.Error != "" || s.FinishedAtSecond == 0 {
			t.Errorf("%+v", s)
		}
	}
	p.same()
	if s := p.nodes[1].scrubNow(3); s.Mended != 7 {
		t.Errorf("mended again: %+v", s)
	}
	p.nodes[1].get("/status").want(200).says(`"Scrub":{"bytesPerSecond":0,"volumes":[{"id":3,`).says(`"mended":7`)
	p.nodes[1].get("/metrics").says("weed_volume_damage_found_total 7\n")
}

func TestScrubOfTheOnlyCopy(t *testing.T) {
	dir := t.TempDir()
	n := start(t, func(c *Config) {
		c.Dirs = []storage.Directory{{Path: dir, MaxVolumes: 7}}
		c.ScrubBytesPerSecond, c.ScrubEvery = 1<<30, time.Millisecond
	})
	content := noise(3000, 1)
	n.put(fid, content)
	n.put("/3,02637037d6", "other")
	flip(t, filepath.Join(dir, "3.dat"), content)
	before, _ := os.ReadFile(filepath.Join(dir, "3.dat"))
	s := n.scrubNow(3)
	if len(s.Damaged) != 1 || s.Damaged[0].Offset != 8 || s.Damaged[0].Length < 3000 || s.Mended != 0 {
		t.Errorf("%+v", s)
	}
	n.get("/metrics").says("weed_volume_damaged_ranges 1\n").says("weed_volume_damage_mended_total 0\n")
	n.get(fid).want(500)
	n.get("/3,02637037d6").want(200)
	if after, _ := os.ReadFile(filepath.Join(dir, "3.dat")); !bytes.Equal(before, after) {
		t.Error("bytes were changed")
	}
	flip(t, filepath.Join(dir, "3.dat"), content[:1500]) // elsewhere: it stays one range
	if s := n.scrubNow(3); len(s.Damaged) != 1 {
		t.Errorf("%+v", s)
	}
	n.do("POST", wire.PathVolumeScrub+"?volumeId=9", "").want(404)
	n.do("POST", wire.PathVolumeScrub+"?volumeId=x", "").want(400)
	n.do("POST", wire.PathVolumeScrub, "").want(200)
}

// A copy that can't take part since it is damaged is mended, and then can.
func TestCopyThatOpensDamagedIsMended(t *testing.T) {
	p := pairUp(t, nil)
	var contents []string
	for i := range 10 {
		contents = append(contents, noise(2000, uint32(i+1)))
		p.nodes[0].put(fmt.Sprintf("/3,%02x637037d6", i+1), contents[i])
	}
	p.same()
	p.nodes[1].stop()
	flip(t, p.dat(1), contents[4])
	if err := os.Remove(strings.TrimSuffix(p.dat(1), ".dat") + ".idx"); err != nil {
		t.Fatal(err)
	}
	p.nodes[1] = run(t, p.cfg[1])
	p.nodes[1].get("/status").says(`"ReadOnlyReason":"damaged"`)
	if a := p.nodes[1].get("/3,05637037d6"); a.StatusCode == 200 {
		t.Errorf("a copy that takes no part answers %d", a.StatusCode)
	}
	eventually(t, "it is mended", func() bool { // the first copy may need a moment to be sure of itself
		p.nodes[1].scrubNow(3)
		return !strings.Contains(p.nodes[1].get("/status").body, "damaged\"")
	})
	p.same()
	eventually(t, "the copy takes part", func() bool { // it is opened first, then its replica
		r := p.nodes[1].node.Replica(3)
		if r == nil {
			t.Fatal("who reads it can't know that it is one of several copies")
		}
		return !r.Status().Failed
	})
}

func TestLogPages(t *testing.T) {
	p := pairUp(t, nil)
	n := p.nodes[1]
	p.nodes[0].put(fid, noise(3<<20, 1))
	p.same()
	log, err := os.ReadFile(p.dat(0))
	if err != nil {
		t.Fatal(err)
	}
	path := wire.PathVolumeLog + "?volumeId=3&generation=0"
	eventually(t, "all is committed there, too", func() bool {
		return n.get(fmt.Sprintf("%s&offset=%d&length=8", path, len(log)-8)).StatusCode == 200
	})
	n.get(path + "&offset=8&length=1048576").want(200).is(string(log[8 : 8+1<<20]))
	for query, status := range map[string]int{
		path + "&offset=8&length=1048577":                                                  400,
		path + "&offset=8&length=0":                                                        400,
		path + "&offset=-8&length=1":                                                       400,
		path + "&length=1":                                                                 400,
		fmt.Sprintf("%s&offset=%d&length=9", path, len(log)-8):                             416,
		path + "&offset=9000000000000000000&length=9000000000000000000":                    400,
		wire.PathVolumeLog + "?volumeId=3&generation=1&offset=8&length=1":                  409,
		wire.PathVolumeLog + "?volumeId=3&offset=8&length=1":                               400,
		wire.PathVolumeLog + "?volumeId=4&generation=0&offset=8&length=1":                  404,
		wire.PathVolumeLog + "?volumeId=99999999999&generation=0&offset=&length=1":         400,
		wire.PathVolumeChecksum + "?volumeId=3&offset=8&length=8&crc=x":                    400,
		fmt.Sprintf("%s?volumeId=3&offset=8&length=%d", wire.PathVolumeChecksum, len(log)): 416,
	} {
		n.get(query).want(status)
	}
	sum := func(n *node) (c wire.LogChecksum) {
		n.get(fmt.Sprintf("%s?volumeId=3&offset=0&length=%d&crc=0", wire.PathVolumeChecksum, len(log))).want(200).json(&c)
		return c
	}
	a, b := sum(p.nodes[0]), sum(p.nodes[1])
	if a != b || a.Length != int64(len(log)) || a.CRC != storage.Checksum(log) {
		t.Errorf("%+v and %+v", a, b)
	}
}
