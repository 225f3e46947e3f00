package volume

import (
	"encoding/json"
	"fmt"
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
	order := func(n *node, o wire.VacuumVolume) (status wire.VacuumStatus) {
		t.Helper()
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the order is carried out", func() bool {
			status = wire.VacuumStatus{}
			n.do("POST", wire.PathVolumeVacuum, string(text)).want(200).json(&status)
			return !status.Running
		})
		return status
	}
	survey := order(a, wire.VacuumVolume{ID: 3, Survey: true})
	if survey.Error != "" || survey.Planned == nil || survey.Origin.Floor != 0 || survey.Planned.Skipped < 2000 {
		t.Fatalf("%+v", survey)
	}
	for _, n := range []*node{b, a} {
		if done := order(n, wire.VacuumVolume{ID: 3, Follow: survey.Planned}); done.Error != "" || done.Origin != *survey.Planned {
			t.Fatalf("%+v, planned %+v", done, survey.Planned)
		}
	}
	p.same()
	for i := 1; i < 20; i++ {
		a.get(path(i + 1)).want(200).is(contents[i])
		b.get(path(i + 1)).want(200).is(contents[i])
	}
	if again := order(a, wire.VacuumVolume{ID: 3, Survey: true}); again.Planned != nil { // the revision is another one
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
