package testcluster_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weed/internal/testcluster"
)

const (
	// askTime bounds a question to a server that something may have happened to.
	askTime = 500 * time.Millisecond
	// mendStep is how often is looked whether what was damaged is whole again.
	mendStep = 500 * time.Millisecond
	// mendBound is the time in which all damage is mended when the faults are over.
	mendBound = 60 * time.Second
)

// errScrubbing: it is looked for the damage.
var errScrubbing = errors.New("it is being scrubbed")

// flips is the damage that was done to one copy of a volume and that is not known to be mended. No other copy of the
// volume is damaged before.
type flips struct {
	volume string
	server *testcluster.Server
	file   string
	what   string
	at     []int64 // in the file, in bytes
	was    []byte
	info   os.FileInfo // of the file
	since  time.Time
	scrub  bool  // it was ordered since
	why    error // it is not known to be mended
}

// standing is how a server says that its copy of a volume stands.
type standing struct {
	Members   []string
	InSync    bool
	Length    int64
	Committed int64
}

// scrubbed is what a server says of its scrubs of a volume.
type scrubbed struct {
	Volumes []struct {
		Pending          bool
		FinishedAtSecond int64
		Error            string
		Damaged          []struct {
			Offset, Length int64
			Reason         string
		}
	}
}

func askJSON(method, url string, v any) error {
	a := testcluster.DoWithin(askTime, method, url, "")
	if err := a.Want(http.StatusOK); err != nil {
		return err
	}
	return json.Unmarshal(a.Body, v)
}

func scrubURL(s *testcluster.Server, volume string) string {
	return s.URL("/internal/volume/scrub?volumeId=" + volume)
}

// flip damages one copy of a volume, of a server that runs or of one that is down.
func (n *nemesis) flip(s *testcluster.Server) (string, func()) {
	b, name, end := n.flippable(s)
	if b == nil {
		return "", nil
	}
	return n.flipBits(s, b, name, end), nil
}

// flipAndKill damages one copy of a volume of a server that is killed first, and comes back.
func (n *nemesis) flipAndKill(s *testcluster.Server) (string, func()) {
	b, name, end := n.flippable(s)
	if b == nil || ended(s) || !n.take(s) {
		return "", nil
	}
	s.Kill()
	return "kill -9 " + s.Addr + " and " + n.flipBits(s, b, name, end), func() {
		s.Restart()
		n.down[s] = false
	}
}

// flippable returns a volume of which a server holds a copy that may be damaged, up to an offset: another one is good.
func (n *nemesis) flippable(s *testcluster.Server) (b *blobs, name string, end int64) {
	if len(n.volumes) == 0 {
		return nil, "", 0
	}
	b = n.volumes[n.random.IntN(len(n.volumes))]
	for _, f := range n.flipped {
		if f.volume == b.volume {
			return nil, "", 0
		}
	}
	names, err := filepath.Glob(filepath.Join(s.Dir, "*_"+b.volume+".dat"))
	if err != nil || len(names) != 1 {
		return nil, "", 0 // it holds no copy
	}
	if end = n.heldByAnother(b, s); end == 0 {
		return nil, "", 0
	}
	return b, names[0], end
}

func (n *nemesis) flipBits(s *testcluster.Server, b *blobs, name string, end int64) (what string) {
	f, err := flipBits(n.random, name, end)
	if err != nil {
		n.t.Errorf("flip bits of %s: %v", name, err)
	}
	if f == nil {
		return ""
	}
	f.volume, f.server, f.since = b.volume, s, time.Now()
	n.flipped = append(n.flipped, f)
	n.damages++
	return fmt.Sprintf("flip bits of %s of %s: %s", filepath.Base(f.file), s.Addr, f.what)
}

// heldByAnother returns the length of the part of a volume's log that a member other than s surely has, 0 for none. Nothing
// happens to that one now.
func (n *nemesis) heldByAnother(b *blobs, s *testcluster.Server) (end int64) {
	for _, v := range n.c.Volumes {
		if v == s || !n.steady(v) {
			continue
		}
		var at standing
		err := askJSON(http.MethodGet, v.URL("/internal/volume/replication?volumeId="+b.volume), &at)
		if err == nil && at.InSync && slices.Contains(at.Members, s.Addr) {
			end = max(end, at.Committed)
		}
	}
	return end
}

// steady reports whether nothing happens to a server.
func (n *nemesis) steady(s *testcluster.Server) bool {
	for pair, faults := range n.lost {
		if faults > 0 && (pair[0] == s || pair[1] == s) {
			return false
		}
	}
	return !n.down[s]
}

// needed reports whether a server may hold the last good copy of something that is damaged elsewhere: while it is gone the
// damaged copy might be made the only one.
func (n *nemesis) needed(s *testcluster.Server) bool {
	for _, f := range n.flipped {
		if names, err := filepath.Glob(filepath.Join(s.Dir, "*_"+f.volume+".dat")); f.server != s && (err != nil || len(names) > 0) {
			return true
		}
	}
	return false
}

// flipBits flips a few bits of a volume: of its log below an offset, or of its index file. It returns nil if there is
// nothing to flip.
func flipBits(random *rand.Rand, dat string, end int64) (*flips, error) {
	f := &flips{file: dat}
	if random.IntN(4) == 0 {
		f.file = strings.TrimSuffix(dat, ".dat") + ".idx"
	}
	b, err := os.ReadFile(f.file)
	if err != nil {
		return nil, err
	}
	if f.file == dat {
		records := recordsOf(b[:min(end, int64(len(b)))])
		if len(records) == 0 {
			return nil, nil
		}
		for range 1 + random.IntN(4) {
			r := records[random.IntN(len(records))]
			p := r[random.IntN(len(r))]
			f.flip(random, b, p.from, p.to, p.name)
		}
	} else if len(b) > 0 {
		for range 1 + random.IntN(2) {
			at := random.Int64N(int64(len(b)))
			f.flip(random, b, at, at+1, "entry")
		}
	}
	file, err := os.OpenFile(f.file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if f.info, err = file.Stat(); err != nil {
		return nil, err
	}
	for i, at := range f.at {
		if _, err := file.WriteAt([]byte{b[at]}, at); err != nil {
			return nil, fmt.Errorf("%d. byte: %w", i, err)
		}
	}
	return f, nil
}

// flip flips a bit in a part of the file whose bytes are b.
func (f *flips) flip(random *rand.Rand, b []byte, from, to int64, name string) {
	at := from + random.Int64N(to-from)
	f.what += fmt.Sprintf("%s at byte %d; ", name, at)
	for _, before := range f.at {
		if before == at {
			return
		}
	}
	f.at, f.was = append(f.at, at), append(f.was, b[at])
	b[at] ^= 1 << random.IntN(8)
}

// part is a field of a record in a log, from one offset to another.
type part struct {
	name     string
	from, to int64
}

// recordsOf cuts a log of version 3 into its records, and these into their fields. What is damaged ends it.
func recordsOf(b []byte) (records [][]part) {
	for at := int64(8); at+36 <= int64(len(b)); {
		size := int64(binary.BigEndian.Uint32(b[at+12:]))
		length := (16+size+4+8)/8*8 + 8
		if at+length > int64(len(b)) {
			break
		}
		parts := []part{{"cookie", at, at + 4}, {"key", at + 4, at + 12}, {"size", at + 12, at + 16}}
		body := at + 16
		if size > 0 {
			data := int64(binary.BigEndian.Uint32(b[body:]))
			if data > size-5 {
				break
			}
			parts = append(parts, part{"data size", body, body + 4})
			if data > 0 {
				parts = append(parts, part{"data", body + 4, body + 4 + data}, part{"data", body + 4, body + 4 + data})
			}
			// The flags come first and are left alone: one that makes others of the data is served until a scrub finds it.
			if size > data+5 {
				parts = append(parts, part{"attributes", body + 5 + data, body + size})
			}
		}
		parts = append(parts, part{"checksum", body + size, body + size + 4}, part{"append time", body + size + 4, body + size + 12},
			part{"padding", body + size + 12, at + length})
		records = append(records, parts)
		at += length
	}
	return records
}

// lookAtFlips has the damaged copies scrubbed, and forgets damage that is mended.
func (n *nemesis) lookAtFlips() {
	kept := n.flipped[:0]
	for _, f := range n.flipped {
		err := errors.New("its server is down")
		if !n.down[f.server] {
			err = f.mended()
		}
		if err != nil {
			if kept = append(kept, f); !errors.Is(err, errScrubbing) || f.why == nil {
				f.why = err
			}
			continue
		}
		n.note("whole again after %v: %s of %s", time.Since(f.since).Round(time.Millisecond), filepath.Base(f.file), f.server.Addr)
	}
	n.flipped = kept
}

// mended orders a scrub, and later looks what has come of it. nil: the copy is as it was before, or is gone.
func (f *flips) mended() error {
	var s scrubbed
	if !f.scrub {
		if err := askJSON(http.MethodPost, scrubURL(f.server, f.volume), &s); err != nil {
			return f.orGone(err)
		}
		f.scrub = true
		return errScrubbing
	}
	if err := askJSON(http.MethodGet, scrubURL(f.server, f.volume), &s); err != nil {
		return f.orGone(err)
	}
	switch {
	case len(s.Volumes) != 1:
		return errors.New("there is no scrub of it")
	case s.Volumes[0].Pending:
		return errScrubbing
	}
	f.scrub = false // the next look orders another one
	if v := s.Volumes[0]; v.Error != "" || len(v.Damaged) > 0 || v.FinishedAtSecond == 0 {
		return fmt.Errorf("its scrub says %+v", v)
	}
	return f.compare()
}

// orGone returns nil if the copy is not there any more: it was made again elsewhere.
func (f *flips) orGone(err error) error {
	if _, e := os.Stat(f.file); errors.Is(e, os.ErrNotExist) {
		return nil
	}
	return err
}

// compare looks at the bytes that were flipped. Those that the log does not reach to any more were cut, and a log that
// was compacted, or begun anew, is another file.
func (f *flips) compare() error {
	file, err := os.Open(f.file)
	if err != nil {
		return f.orGone(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !os.SameFile(info, f.info) {
		return err
	}
	for i, at := range f.at {
		var b [1]byte
		if _, err := file.ReadAt(b[:], at); err == nil && b[0] != f.was[i] {
			return fmt.Errorf("byte %d is %#x, it was %#x", at, b[0], f.was[i])
		}
	}
	return nil
}

// leftBehind reports whether a copy is no member's any more. It is made equal to the others when it becomes one again.
func (n *nemesis) leftBehind(f *flips) bool {
	for _, b := range n.volumes {
		if b.volume == f.volume {
			return !slices.Contains(b.members, f.server)
		}
	}
	return false
}

// allMended waits until all damage is mended, and scrubs of all servers find none.
func (n *nemesis) allMended() {
	n.t.Helper()
	step := time.NewTicker(mendStep)
	defer step.Stop()
	for began := time.Now(); len(n.flipped) > 0; <-step.C {
		n.lookAtFlips()
		n.flipped = slices.DeleteFunc(n.flipped, n.leftBehind)
		if time.Since(began) > mendBound {
			for _, f := range n.flipped {
				n.t.Errorf("%s of %s is not mended %v after the faults: %v", f.file, f.server.Addr, mendBound, f.why)
			}
			return
		}
	}
	for _, b := range n.volumes {
		for _, v := range b.members {
			n.noDamage(b, v)
		}
	}
}

// noDamage wants a scrub of a member's copy to find nothing.
func (n *nemesis) noDamage(b *blobs, v *testcluster.Server) {
	n.t.Helper()
	ordered := false
	testcluster.WaitFor(n.t, "a scrub of volume "+b.volume+" of "+v.Addr+" finds nothing", func() error {
		method := http.MethodGet
		if !ordered {
			method = http.MethodPost
		}
		var s scrubbed
		err := askJSON(method, scrubURL(v, b.volume), &s)
		switch {
		case err != nil:
			return err
		case !ordered:
			ordered = true
			return errors.New("it has begun")
		case len(s.Volumes) != 1 || s.Volumes[0].Pending:
			return errors.New("it goes on")
		}
		ordered = false
		if of := s.Volumes[0]; of.Error != "" || len(of.Damaged) > 0 {
			n.t.Log(of)
			return fmt.Errorf("%+v", of)
		}
		return nil
	})
}
