package topology

import "testing"

func TestExtents(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b Extent
		want int
	}{
		{"the longer", Extent{Length: 9}, Extent{Length: 8}, 1},
		{"the same", Extent{Length: 9, Revision: 1}, Extent{Length: 9, Revision: 1}, 0},
		{"compacted by another program", Extent{Length: 5, Revision: 2}, Extent{Length: 9, Revision: 1}, 1},
		{"compacted by us, and shorter", Extent{Length: 5, Revision: 2, Floor: 4}, Extent{Length: 9, Revision: 1}, -1},
		{"compacted by us, and longer", Extent{Length: 9, Revision: 2, Floor: 4}, Extent{Length: 8}, 1},
		{"compacted by us first, then by another", Extent{Length: 9, Revision: 1, Floor: 4}, Extent{Length: 8, Revision: 2}, -1},
	} {
		if got, back := c.a.Compare(c.b), c.b.Compare(c.a); got != c.want || back != -c.want {
			t.Errorf("%s: %d, and %d the other way round; want %d", c.name, got, back, c.want)
		}
	}
	if (Extent{Revision: 1, Floor: 8}).SameFile(Extent{Revision: 1}) || !(Extent{Length: 1, Revision: 1}).SameFile(Extent{Revision: 1}) {
		t.Error("generations")
	}
}
