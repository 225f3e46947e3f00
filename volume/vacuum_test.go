package volume

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/storage"
)

// vacuumNow orders a vacuum and waits for its end.
func (n *node) vacuumNow(id uint32, revision uint16) (status wire.VacuumStatus) {
	n.t.Helper()
	eventually(n.t, "the vacuum ends", func() bool {
		status = wire.VacuumStatus{}
		n.do("POST", wire.PathVolumeVacuum, fmt.Sprintf(`{"id":%d,"revision":%d}`, id, revision)).want(200).json(&status)
		return !status.Running
	})
	return status
}

func TestVacuum(t *testing.T) {
	n := start(t, func(c *Config) { c.CompactBytesPerSecond = 100 << 20 })
	content := func(i int) string { return noise(2000, uint32(i)) }
	path := func(i int) string { return fmt.Sprintf("/3,%02x637037d6", i) }
	for i := 1; i <= 20; i++ {
		n.put(path(i), content(i))
	}
	for i := 2; i <= 20; i += 2 {
		n.do("DELETE", path(i), "").want(202)
	}
	v, _ := n.store.Volume(blob.VolumeID(3))
	before := v.SizeBytes()
	if status := n.vacuumNow(3, 0); status.Error != "" || status.Origin.Revision != 1 || v.SizeBytes() > before*6/10 {
		t.Errorf("%+v, %d of %d bytes", status, v.SizeBytes(), before)
	}
	if status := n.vacuumNow(3, 0); status.Error != "" || status.Origin.Revision != 1 { // the same order once more
		t.Errorf("once more: %+v", status)
	}
	for i := 1; i <= 20; i++ {
		if a := n.get(path(i)); i%2 == 0 {
			a.want(404)
		} else {
			a.want(200).is(content(i))
		}
	}
	n.do("POST", wire.PathVolumeVacuum, `{"id":9}`).want(404)
	n.do("POST", wire.PathVolumeVacuum, `x`).want(400)
	if scrub := n.scrubNow(3); scrub.Error != "" || len(scrub.Damaged) != 0 {
		t.Errorf("scrub: %+v", scrub)
	}
}

// TestVacuumOfSeveralCopies has one copy compacted, and the other one follow.
func TestVacuumOfSeveralCopies(t *testing.T) {
	p := pairUp(t, nil)
	a, b := p.nodes[0], p.nodes[1]
	path := func(i int) string { return fmt.Sprintf("/3,%02x637037d6", i) }
	for i := 1; i <= 20; i++ {
		a.put(path(i), noise(2000, uint32(i)))
	}
	for i := 2; i <= 20; i += 2 {
		b.do("DELETE", path(i), "").want(202)
	}
	p.same()
	first := a.vacuumNow(3, 0)
	if first.Error != "" || first.Origin.Revision != 1 || first.Origin.Skipped < 20000 {
		t.Fatalf("%+v", first)
	}
	var look wire.VacuumStatus
	a.get(wire.PathVolumeVacuum + "?volumeId=3").want(200).json(&look)
	if look != first {
		t.Errorf("%+v, looked up %+v", first, look)
	}
	a.get(wire.PathVolumeVacuum + "?volumeId=4").want(404)
	a.get(wire.PathVolumeVacuum + "?volumeId=x").want(400)
	// The copies are in different files now, so bytes of one are none of the other.
	b.get(fmt.Sprintf("%s?volumeId=3&generation=%s&offset=8&length=8", wire.PathVolumeLog, generation(storage.Origin(first.Origin)))).want(409)
	a.put(path(21), "written in between")
	order, err := json.Marshal(wire.VacuumVolume{ID: 3, Follow: &first.Origin})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other copy follows", func() bool {
		var status wire.VacuumStatus
		b.do("POST", wire.PathVolumeVacuum, string(order)).want(200).json(&status)
		return !status.Running && status.Error == "" && status.Origin == first.Origin
	})
	p.same()
	for i := 1; i <= 20; i++ {
		for _, n := range p.nodes {
			if answer := n.get(path(i)); i%2 == 0 {
				answer.want(404)
			} else {
				answer.want(200).is(noise(2000, uint32(i)))
			}
		}
	}
	wrong := first.Origin
	wrong.Floor, wrong.Sum = wrong.Floor+8*300, 1
	order, err = json.Marshal(wire.VacuumVolume{ID: 3, Follow: &wrong})
	if err != nil {
		t.Fatal(err)
	}
	var status wire.VacuumStatus
	b.do("POST", wire.PathVolumeVacuum, string(order)).want(200).json(&status)
	if status.Error == "" || status.Origin != first.Origin {
		t.Errorf("what no other copy has: %+v", status)
	}
}

// vacuumAs carries out an order.
func (n *node) vacuumAs(o wire.VacuumVolume) (status wire.VacuumStatus) {
	n.t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, "the order is carried out", func() bool {
		status = wire.VacuumStatus{}
		n.do("POST", wire.PathVolumeVacuum, string(text)).want(200).json(&status)
		return !status.Running
	})
	return status
}

// vacuum compacts both copies as the master has it done: what comes out is planned by the first one, which then comes
// last. meanwhile, if it is not nil, is called in between.
func (p *twins) vacuum(meanwhile func()) {
	p.t.Helper()
	survey := p.nodes[0].vacuumAs(wire.VacuumVolume{ID: 3, Survey: true})
	if survey.Error != "" || survey.Planned == nil || survey.Origin.Floor != 0 || survey.Planned.Skipped <= 0 {
		p.t.Fatalf("%+v", survey)
	}
	if meanwhile != nil {
		meanwhile()
	}
	for _, n := range []*node{p.nodes[1], p.nodes[0]} {
		if done := n.vacuumAs(wire.VacuumVolume{ID: 3, Follow: survey.Planned}); done.Error != "" || done.Origin != *survey.Planned {
			p.t.Fatalf("%+v, planned %+v", done, survey.Planned)
		}
	}
}

// TestFlippedRestsOfACompactedCopy: a bit that flips where no checksum of a needle covers it, after a compaction or
// before one that copies it, is mended; no restart in between makes it count as what was written.
func TestFlippedRestsOfACompactedCopy(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	scrub := func(mends ...bool) {
		t.Helper()
		for _, i := range []int{1, 0} {
			if s := p.nodes[i].scrubNow(3); len(s.Damaged) > 0 || s.Error != "" || (s.Mended > 0) != mends[i] {
				t.Errorf("%d: %+v", i, s)
			}
		}
		p.same()
	}
	p.vacuum(func() {
		for i := range 200 {
			p.nodes[i%2].put(fmt.Sprintf("/3,a%02x637037d6", i), noise(300, uint32(1000+i)), "Seaweed-Owner", "somebody")
		}
		p.same()
		flipByte(t, p.dat(1), p.place(1, noise(300, 1004))-20, 1)
		flipByte(t, p.dat(0), p.place(0, noise(300, 1199))-20, 1)
	})
	scrub(true, true)
	p.nodes[0].get("/3,a04637037d6").want(200)
	p.nodes[1].get("/3,ac7637037d6").want(200)
	want, err := os.ReadFile(p.dat(0))
	if err != nil {
		t.Fatal(err)
	}
	flipByte(t, p.dat(0), p.place(0, contents[40])-20, 4)
	flipByte(t, p.dat(0), p.place(0, noise(300, 1198))-20, 4)
	p.restart(func() {})
	scrub(true, false) // the good copy first: it is not to take what the other one has
	for i := range p.nodes {
		if got, err := os.ReadFile(p.dat(i)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("copy %d is not what it was: %v", i, err)
		}
	}
}

// TestVacuumOfDamagedCopies damages both copies, each elsewhere: the survey of one and the compaction of the other mend
// them from each other.
func TestVacuumOfDamagedCopies(t *testing.T) {
	p := pairUp(t, nil)
	a, b := p.nodes[0], p.nodes[1]
	path := func(i int) string { return fmt.Sprintf("/3,%02x637037d6", i) }
	var contents []string
	for i := range 20 {
		contents = append(contents, noise(2000, uint32(i+1)))
		a.put(path(i+1), contents[i])
	}
	a.do("DELETE", path(1), "").want(202)
	p.same()
	flip(t, p.dat(0), contents[5])
	flip(t, p.dat(1), contents[9])
	p.vacuum(nil)
	p.same()
	for i := 1; i < 20; i++ {
		a.get(path(i + 1)).want(200).is(contents[i])
		b.get(path(i + 1)).want(200).is(contents[i])
	}
	if again := a.vacuumAs(wire.VacuumVolume{ID: 3, Survey: true}); again.Planned != nil { // the revision is another one
		t.Errorf("%+v", again)
	}
}

// TestVacuumRenews: a copy that was damaged when the others had been compacted already is left out, and begins anew.
func TestVacuumRenews(t *testing.T) {
	p := pairUp(t, nil)
	a, b := p.nodes[0], p.nodes[1]
	content := noise(2000, 2)
	a.put(fid, noise(2000, 1))
	a.put("/3,02637037d6", content)
	a.do("DELETE", fid, "").want(202)
	p.same()
	first := a.vacuumNow(3, 0)
	if first.Error != "" {
		t.Fatalf("%+v", first)
	}
	flip(t, p.dat(1), content)
	order, err := json.Marshal(wire.VacuumVolume{ID: 3, Follow: &first.Origin})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy begins anew", func() bool {
		var status wire.VacuumStatus
		b.do("POST", wire.PathVolumeVacuum, string(order)).want(200).json(&status)
		v, ok := b.store.Volume(3)
		return ok && v.LogLength() == storage.SuperblockSize
	})
	a.do("POST", wire.PathVolumeCopies, fmt.Sprintf(`{"id":3,"add":%q}`, b.cfg.URL)).want(200)
	eventually(t, "it is a member again", func() bool {
		r := b.node.Replica(3)
		return r.Status().InSync && r.Readable()
	})
	p.same()
	b.get("/3,02637037d6").want(200).is(content)
	b.get(fid).want(404)
}
