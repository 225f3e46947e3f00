package volume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"weed/internal/vfs"
	"weed/internal/wire"
	"weed/storage"
)

// flipByte flips bits of a byte of a file.
func flipByte(t *testing.T, path string, at int64, xor byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= xor
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// place returns where a record's data begins in a copy's log.
func (p *twins) place(i int, content string) int64 {
	p.t.Helper()
	log, err := os.ReadFile(p.dat(i))
	if err != nil {
		p.t.Fatal(err)
	}
	at := bytes.Index(log, []byte(content))
	if at < 0 {
		p.t.Fatal("the content is not in the log")
	}
	return int64(at)
}

// stocked puts several runs of records, and returns their contents.
func stocked(p *twins) (contents []string) {
	p.t.Helper()
	p.by.keep(true)
	for i := range 80 {
		contents = append(contents, noise(200+i, uint32(i+1)))
		p.nodes[i%2].put(fmt.Sprintf("/3,%02x637037d6", i+2), contents[i], "Seaweed-Owner", "somebody")
	}
	p.nodes[0].do("DELETE", "/3,05637037d6", "").want(202)
	p.same()
	return contents
}

// A blob whose cookie has flipped is there for who knows the right one, for writes too, and only for those.
func TestFlippedCookie(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	for i := range 6 {
		fid, content := fmt.Sprintf("/3,%02x637037d6", i+12), contents[i+10]
		for at, n := range p.nodes {
			flipByte(t, p.dat(at), p.place(at, content)-20, 1<<i)
			n.get(fmt.Sprintf("/3,%02x637037d7", i+12)).want(404)
			switch i {
			case 0:
				n.do("HEAD", fid, "").want(200)
			default:
				n.get(fid).want(200).is(content)
			}
			p.same()
		}
	}
	flipByte(t, p.dat(0), p.place(0, contents[30])-19, 4)
	p.nodes[1].do("PUT", "/3,20637037d6", "a new version").want(201)
	flipByte(t, p.dat(0), p.place(0, contents[31])-18, 4)
	p.nodes[1].do("DELETE", "/3,21637037d6", "").want(202)
	p.same()
	p.nodes[0].do("PUT", "/3,22637037d7", "with another cookie").want(403)
}

// A scrub mends what no checksum of a record covers, in each copy.
func TestScrubMendsRests(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	for i, from := range []int64{-20, 3 + 200 + 60, 9 + 200 + 61, 200 + 62 + 30} { // a cookie, attributes, the next record's header
		for at, n := range p.nodes {
			flipByte(t, p.dat(at), p.place(at, contents[60+i])+from, 1<<i)
			if s := n.scrubNow(3); s.Mended == 0 || len(s.Damaged) > 0 || s.Error != "" {
				t.Errorf("%d: %+v", i, s)
			}
			p.same()
		}
	}
	p.nodes[0].get("/metrics").says("weed_volume_damaged_ranges 0\n")
}

// A copy that has lost its sums learns them from one that has them, or from all if they are the same.
func TestSumsAreLearned(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	restart := func(forget ...int) {
		t.Helper()
		p.restart(func() {
			for _, i := range forget {
				if err := os.Remove(strings.TrimSuffix(p.dat(i), ".dat") + ".sum"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	restart(1)
	flipByte(t, p.dat(1), p.place(1, contents[20])-20, 2)
	if s := p.nodes[1].scrubNow(3); s.Mended == 0 || len(s.Damaged) > 0 {
		t.Errorf("%+v", s)
	}
	p.same()
	// Where nobody knows them, they are made of what all have, and hold from then on.
	restart(0, 1)
	for _, n := range p.nodes {
		if s := n.scrubNow(3); s.Mended > 0 || len(s.Damaged) > 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
	}
	flipByte(t, p.dat(0), p.place(0, contents[21])-20, 2)
	if s := p.nodes[0].scrubNow(3); s.Mended == 0 || len(s.Damaged) > 0 {
		t.Errorf("%+v", s)
	}
	p.same()
	// Two that differ, and nobody knows: that is said, and left alone.
	restart(0, 1)
	flipByte(t, p.dat(0), p.place(0, contents[22])-20, 2)
	before, _ := os.ReadFile(p.dat(0))
	for _, n := range p.nodes {
		if s := n.scrubNow(3); s.Mended > 0 || len(s.Damaged) != 1 || !strings.Contains(s.Damaged[0].Reason, "differ") {
			t.Errorf("%+v", s)
		}
	}
	if after, _ := os.ReadFile(p.dat(0)); !bytes.Equal(before, after) {
		t.Error("bytes were changed")
	}
}

// An index file that is damaged, while a server runs or while it is away, hides nothing and brings nothing back.
func TestFlippedIndexFile(t *testing.T) {
	p := pairUp(t, nil)
	stocked(p)
	idx := strings.TrimSuffix(p.dat(1), ".dat") + ".idx"
	var want []byte
	p.restart(func() {
		var err error
		if want, err = os.ReadFile(idx); err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{4 * 16, 63*16 + 7, int64(len(want)) - 9} {
			flipByte(t, idx, at, 8)
		}
	})
	p.nodes[1].get("/3,05637037d6").want(404)
	for i := range 80 {
		if i != 3 {
			p.nodes[1].get(fmt.Sprintf("/3,%02x637037d6", i+2)).want(200)
		}
	}
	flipByte(t, idx, 16*20+3, 8)
	p.nodes[1].scrubNow(3)
	if got, err := os.ReadFile(idx); err != nil || !bytes.Equal(got[:len(want)], want) {
		t.Error("the index file is not what it was", err)
	}
}

// A key that flips in what the index file of a killed server lacks is learnt by the index when it starts. It is forgotten when a
// scrub mends the key, in the index file too.
func TestFlippedKeyBehindTheIndexFile(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	last := len(contents) - 1
	idx := strings.TrimSuffix(p.dat(1), ".dat") + ".idx"
	var want []byte
	p.restart(func() {
		var err error
		if want, err = os.ReadFile(idx); err == nil {
			err = os.WriteFile(idx, want[:len(want)-5*16], 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		flipByte(t, p.dat(1), p.place(1, contents[last])-15, 0x20)
	})
	if s := p.nodes[1].scrubNow(3); s.Mended == 0 || len(s.Damaged) > 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	for range 2 {
		p.same()
		p.nodes[1].get(fmt.Sprintf("/3,%02x637037d6", last+2)).want(200).is(contents[last])
		if s := p.nodes[1].scrubNow(3); len(s.Damaged) > 0 || s.Error != "" {
			t.Errorf("%+v", s)
		}
		p.restart(func() {
			if got, err := os.ReadFile(idx); err != nil || !bytes.HasPrefix(got, want) {
				t.Errorf("the index file is %x (%v), want %x", got, err, want)
			}
		})
	}
}

func TestJudgeRest(t *testing.T) {
	const here, there, third = 1, 2, 3
	run := func(sum uint32, doubted bool) storage.RestBlock {
		return storage.RestBlock{Sum: sum, Doubted: doubted, Here: here}
	}
	answers := func(all ...wire.RestSums) map[string]wire.RestSums {
		m := map[string]wire.RestSums{}
		for i, r := range all {
			m[fmt.Sprint(i)] = r
		}
		return m
	}
	for name, c := range map[string]struct {
		run     storage.RestBlock
		answers map[string]wire.RestSums
		others  int
		want    uint32
		err     error
	}{
		"the only copy, not known":           {run(0, false), nil, 0, here, nil},
		"the only copy, doubted":             {run(here, true), nil, 0, here, nil},
		"the only copy, doubted and wrong":   {run(there, true), nil, 0, there, nil},
		"the only copy, wrong":               {run(there, false), nil, 0, there, nil},
		"known here, wrong":                  {run(there, false), answers(wire.RestSums{Here: there}), 1, there, nil},
		"known here, but all have another":   {run(there, false), answers(wire.RestSums{Here: here}), 1, there, nil},
		"and the other one vouches for it":   {run(there, false), answers(wire.RestSums{Sum: here, Here: here}), 1, here, nil},
		"and the other one has it from disk": {run(there, false), answers(wire.RestSums{Sum: here, Doubted: true, Here: here}), 1, there, nil},
		"known here, nobody answers":         {run(there, false), nil, 2, there, nil},
		"known there":                        {run(0, false), answers(wire.RestSums{Sum: there, Here: there}), 1, there, nil},
		"known there, damaged there":         {run(0, false), answers(wire.RestSums{Sum: here, Here: there}), 1, here, nil},
		"doubted here, known there":          {run(here, true), answers(wire.RestSums{Sum: there, Here: there}), 1, there, nil},
		"doubted here, not known there":      {run(here, true), answers(wire.RestSums{Here: there}), 1, 0, errRestsDiffer},
		"doubted here, wrong":                {run(there, true), answers(wire.RestSums{Here: there}), 1, there, nil},
		"doubted here, right":                {run(here, true), answers(wire.RestSums{Sum: here, Doubted: true, Here: there}), 1, here, nil},
		"doubted there, not known here":      {run(0, false), answers(wire.RestSums{Sum: there, Doubted: true, Here: there}), 1, 0, errRestsDiffer},
		"doubted there, wrong there":         {run(0, false), answers(wire.RestSums{Sum: here, Doubted: true, Here: there}), 1, here, nil},
		"doubted here, two others":           {run(here, true), answers(wire.RestSums{Here: there}, wire.RestSums{Here: there}), 2, there, nil},
		"doubted on both, and different":     {run(here, true), answers(wire.RestSums{Sum: there, Doubted: true, Here: there}), 1, 0, errRestsDiffer},
		"not known, all the same":            {run(0, false), answers(wire.RestSums{Here: here}, wire.RestSums{Here: here}), 2, here, nil},
		"not known, one does not answer":     {run(0, false), answers(wire.RestSums{Here: here}), 2, 0, nil},
		"not known, two of three":            {run(0, false), answers(wire.RestSums{Here: there}, wire.RestSums{Here: there}), 2, there, nil},
		"not known, three different ones":    {run(0, false), answers(wire.RestSums{Here: there}, wire.RestSums{Here: third}), 2, 0, errRestsDiffer},
		"not known, two that are different":  {run(0, false), answers(wire.RestSums{Here: there}), 1, 0, errRestsDiffer},
		"known by two that do not say alike": {run(0, false), answers(wire.RestSums{Sum: here, Here: here}, wire.RestSums{Sum: third, Here: third}), 2, here, nil},
	} {
		if got, err := judgeRest(c.run, c.answers, c.others); got != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %d, %v, want %d, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestMajority(t *testing.T) {
	for name, c := range map[string]struct {
		mine   uint32
		theirs []uint32
		want   uint32
		ok     bool
	}{
		"alone":               {1, nil, 1, true},
		"the same":            {1, []uint32{1}, 1, true},
		"one is not known":    {1, []uint32{0}, 1, true},
		"two differ":          {1, []uint32{2}, 0, false},
		"two of three":        {1, []uint32{2, 2}, 2, true},
		"mine of three":       {1, []uint32{2, 1}, 1, true},
		"three differ":        {1, []uint32{2, 3}, 0, false},
		"mine is not known":   {0, []uint32{2, 3}, 0, true},
		"the third not known": {1, []uint32{2, 0}, 0, false},
	} {
		var theirs [][]uint32
		for _, sum := range c.theirs {
			theirs = append(theirs, []uint32{9, sum})
		}
		theirs = append(theirs, nil, []uint32{9})
		if got, ok := majority([]uint32{9, c.mine}, theirs, 1); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
}

// Copies that are whole, each by its own sums, and differ, are told of.
func TestCopiesThatDiffer(t *testing.T) {
	p := pairUp(t, nil)
	contents := stocked(p)
	p.restart(func() {
		flipByte(t, p.dat(1), p.place(1, contents[20])-20, 2)
		store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: p.dirs[1], MaxVolumes: 7}}, storage.Config{})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := store.Volume(3)
		err = v.Scrub(v.SizeBytes(), nil, func(storage.Damage) bool { return false }, func(b storage.RestBlock) {
			b.Sum = b.Here
			v.KeepRestSum(b)
		}, func(int64) {})
		if err = errors.Join(err, store.Close()); err != nil {
			t.Fatal(err)
		}
	})
	for _, n := range p.nodes {
		if s := n.scrubNow(3); s.Mended > 0 || len(s.Damaged) != 1 || !strings.Contains(s.Damaged[0].Reason, "differ") {
			t.Errorf("%+v", s)
		}
	}
}
