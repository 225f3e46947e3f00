package topology

import (
	"cmp"

	"weed/internal/wire"
)

// Extent says how far a copy's log goes.
type Extent struct {
	Length   uint64 // bytes, those included that were left out below Floor
	Floor    int64  // where this program has compacted it last; 0: nowhere
	Revision uint16 // how often it was compacted, by any program
}

// ExtentOf returns that of a copy as its server reports it.
func ExtentOf(info *wire.VolumeInfo) Extent {
	return Extent{max(info.SizeBytes, info.LogLength), info.CompactFloor, info.CompactRevision}
}

func (r *replica) extent() Extent {
	return Extent{max(r.sizeBytes, r.logLength), r.compactFloor, r.compactRevision}
}

// Compare orders extents: less than 0 if e does not go as far as o. Compactions of ours leave lengths comparable; where
// another program has done the later one, that goes further.
func (e Extent) Compare(o Extent) int {
	later := e
	if o.Revision > e.Revision {
		later = o
	}
	if e.Revision != o.Revision && later.Floor == 0 {
		return cmp.Compare(e.Revision, o.Revision)
	}
	return cmp.Compare(e.Length, o.Length)
}

// SameFile reports whether two copies are compacted alike, as far as reports tell.
func (e Extent) SameFile(o Extent) bool { return e.Revision == o.Revision && e.Floor == o.Floor }
