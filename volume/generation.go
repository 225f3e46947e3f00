package volume

import (
	"errors"
	"fmt"
	"strconv"

	"weed/internal/wire"
	"weed/replication"
	"weed/storage"
)

// errGeneration: offsets in the two files do not mean the same.
var errGeneration = errors.New("the log is of another generation here: it was compacted")

// generation names the file that a compaction has made of a log. Offsets in files of one generation mean the same. The
// revision alone would not do: two primaries, one after the other, may have made the same one at different offsets.
func generation(o storage.Origin) string {
	if o.Floor == 0 {
		return strconv.Itoa(int(o.Revision))
	}
	return fmt.Sprintf("%d-%x-%08x", o.Revision, o.Floor, o.Sum)
}

// lengthIn and committedIn return the lengths of a log's file.
func lengthIn(s replication.Status) int64    { return s.Length - s.Origin.Skipped }
func committedIn(s replication.Status) int64 { return s.Committed - s.Origin.Skipped }

// extentOf returns the committed length of a log's file, and its generation. A compaction in between does not matter:
// it changes no log offset.
func extentOf(v *storage.Volume) (length int64, of string) {
	o := v.Origin()
	return v.LogLength() - o.Skipped, generation(o)
}

// wireOrigin and originOf change between the forms of an Origin.
func wireOrigin(o storage.Origin) *wire.Origin { w := wire.Origin(o); return &w }

func originOf(w *wire.Origin) *storage.Origin {
	if w == nil {
		return nil
	}
	o := storage.Origin(*w)
	return &o
}
