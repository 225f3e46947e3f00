package topology

import (
	"fmt"
	"slices"
)

// broken recomputes everything that the tree keeps up to date by increments and returns the first
// difference.
func (t *Tree) broken() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all area
	for name, c := range t.dataCenters {
		var sum area
		open := 0
		if len(c.racks) == 0 {
			return fmt.Errorf("data center %s is empty", name)
		}
		for _, r := range c.racks {
			var below area
			if len(r.nodes) == 0 {
				return fmt.Errorf("rack %s is empty", r.name)
			}
			for url, n := range r.nodes {
				if t.nodes[url] != n || n.rack != r || n.reserved < 0 || n.free() < 0 {
					return fmt.Errorf("server %s: reserved %d, free %d", url, n.reserved, n.free())
				}
				a := area{max: n.max, free: n.free(), copies: len(n.volumes) + len(n.strays)}
				if a.free > 0 {
					a.openNodes = 1
				}
				if a != n.counted {
					return fmt.Errorf("server %s: counted %+v, is %+v", url, n.counted, a)
				}
				below = below.plus(a)
			}
			if below != r.area {
				return fmt.Errorf("rack %s: %+v, is %+v", r.name, r.area, below)
			}
			if below.openNodes > 0 {
				open++
			}
			sum = sum.plus(below)
		}
		if sum != c.area || open != c.openRacks {
			return fmt.Errorf("data center %s: %+v open %d, is %+v open %d", name, c.area, c.openRacks, sum, open)
		}
		all = all.plus(sum)
	}
	if all != t.area {
		return fmt.Errorf("tree: %+v, is %+v", t.area, all)
	}
	return t.brokenLayouts()
}

func (a area) plus(b area) area {
	return area{a.max + b.max, a.free + b.free, a.copies + b.copies, a.openNodes + b.openNodes}
}

func (t *Tree) brokenLayouts() error {
	type sums struct{ volumes, writables, crowded, active int }
	is := map[*layout]*sums{}
	slots := map[*layout]map[slotKey]*slot{}
	for _, l := range t.layouts {
		is[l], slots[l] = &sums{}, map[slotKey]*slot{}
	}
	for id, v := range t.volumes {
		s := is[v.layout]
		if s == nil || v.id != id || len(v.copies) == 0 && v.members == nil {
			return fmt.Errorf("volume %d: %d copies, layout %v", id, len(v.copies), v.layout.key)
		}
		for _, r := range v.copies {
			if t.nodes[r.node.at.URL] != r.node || r.node.volumes[id] != r {
				return fmt.Errorf("volume %d has a copy on %s, which does not know it", id, r.node.at.URL)
			}
		}
		for _, r := range v.copies {
			if !v.admits(r.node) {
				return fmt.Errorf("volume %d counts a copy on %s, its members are %v", id, r.node.at.URL, v.members)
			}
		}
		for _, s := range t.strays[id] {
			if key := mustKey(&s.info); v.members != nil && v.admits(s.node) && key == v.layout.key {
				return fmt.Errorf("volume %d: the copy on %s is a stray, its members are %v", id, s.node.at.URL, v.members)
			}
		}
		writable, crowded := v.health(t.cfg.SizeLimitBytes)
		if writable != v.writable || crowded != v.crowded || v.target != nil && !writable {
			return fmt.Errorf("volume %d: writable %v crowded %v, is %v %v", id, v.writable, v.crowded, writable, crowded)
		}
		s.volumes++
		if !writable {
			continue
		}
		s.writables++
		if crowded {
			s.crowded++
		}
		if v.target != nil {
			s.active++
			if !slices.Contains(v.layout.rings[place{}].targets, v.target) {
				return fmt.Errorf("volume %d is active and in no ring", id)
			}
		}
		for _, r := range v.copies {
			k := r.slot()
			if slots[v.layout][k] == nil {
				slots[v.layout][k] = &slot{}
			}
			slots[v.layout][k].volumes = append(slots[v.layout][k].volumes, v)
			if v.target != nil {
				slots[v.layout][k].active++
			}
		}
	}
	for l, s := range is {
		if s.volumes == 0 || s.volumes != l.volumes || s.writables != l.writables || s.crowded != l.crowded {
			return fmt.Errorf("layout %v: is %+v, counted %d %d %d", l.key, *s, l.volumes, l.writables, l.crowded)
		}
		if ring := l.rings[place{}]; ring == nil && s.active > 0 || ring != nil && len(ring.targets) != s.active {
			return fmt.Errorf("layout %v: %d active, ring %+v", l.key, s.active, ring)
		}
		if s.active > len(slots[l]) || len(l.slots) != len(slots[l]) {
			return fmt.Errorf("layout %v: %d active for %d directories", l.key, s.active, len(slots[l]))
		}
		for k, want := range slots[l] {
			if got := l.slots[k]; want.active == 0 || got == nil || got.active != want.active || len(got.volumes) != len(want.volumes) {
				return fmt.Errorf("layout %v, %s/%d: %+v, is %+v", l.key, k.node.at.URL, k.disk, got, want)
			}
		}
	}
	return nil
}
