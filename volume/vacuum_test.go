package volume

import (
	"fmt"
	"testing"

	"weed/internal/blob"
	"weed/internal/wire"
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
	if status := n.vacuumNow(3, 0); status.Error != "" || status.Revision != 1 || v.SizeBytes() > before*6/10 {
		t.Errorf("%+v, %d of %d bytes", status, v.SizeBytes(), before)
	}
	if status := n.vacuumNow(3, 0); status.Error != "" || status.Revision != 1 { // the same order once more
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

// TestVacuumOfSeveralCopies: a copy is not compacted alone.
func TestVacuumOfSeveralCopies(t *testing.T) {
	p := pairUp(t, nil)
	if status := p.nodes[0].vacuumNow(3, 0); status.Error == "" || status.Revision != 0 {
		t.Errorf("%+v", status)
	}
}
