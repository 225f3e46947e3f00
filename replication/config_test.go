package replication

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestDivergence(t *testing.T) {
	for name, c := range map[string]struct {
		a       History
		aLength int64
		b       History
		bLength int64
		want    int64
	}{
		"new":                            {History{{1, 8}}, 500, nil, 8, LogStart},
		"nothing in common":              {History{{3, 8}}, 500, History{{2, 8}}, 400, LogStart},
		"the same":                       {History{{1, 8}, {2, 100}}, 500, History{{1, 8}, {2, 100}}, 500, 500},
		"one is behind":                  {History{{1, 8}}, 500, History{{1, 8}}, 300, 300},
		"one has an uncommitted tail":    {History{{1, 8}, {2, 300}}, 500, History{{1, 8}}, 400, 300},
		"both go on by themselves":       {History{{1, 8}, {3, 300}}, 500, History{{1, 8}, {2, 350}}, 400, 300},
		"an era that ended sooner there": {History{{1, 8}, {3, 300}}, 500, History{{1, 8}, {2, 250}}, 400, 250},
		"an era that holds nothing":      {History{{1, 8}, {4, 200}}, 500, History{{1, 8}, {3, 200}}, 200, 200},
		"its era is ahead of its log":    {History{{1, 8}, {4, 400}}, 500, History{{1, 8}, {4, 400}}, 250, 250},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Divergence(c.a, c.aLength, c.b, c.bLength); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if got := Divergence(c.b, c.bLength, c.a, c.aLength); got != c.want {
				t.Errorf("the other way: got %d, want %d", got, c.want)
			}
		})
	}
}

// TestDivergenceOfLogs lets copies append, lead, be cut and be filled up as groups do it, and compares what the
// histories tell with the bytes: nothing behind the divergence may be needed, nothing before it may differ.
func TestDivergenceOfLogs(t *testing.T) {
	type replica struct {
		log     []byte
		history History
	}
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		replicas := make([]*replica, 3)
		for i := range replicas {
			replicas[i] = &replica{log: make([]byte, LogStart)}
		}
		for epoch := uint64(1); epoch < 30; epoch++ {
			p := replicas[r.IntN(3)]
			p.history = p.history.begin(epoch, int64(len(p.log)))
			for _, f := range replicas {
				if f == p || r.IntN(3) == 0 {
					continue
				}
				to := Divergence(p.history, int64(len(p.log)), f.history, int64(len(f.log)))
				if !bytes.Equal(p.log[:to], f.log[:to]) {
					t.Fatalf("seed %d, epoch %d: logs differ before %d", seed, epoch, to)
				}
				f.log, f.history = append(bytes.Clone(f.log[:to]), p.log[to:]...), p.history
				f.log = f.log[:to+r.Int64N(int64(len(p.log))-to+1)] // it may not get all of it
			}
			for range r.IntN(4) {
				more := make([]byte, 1+r.IntN(20))
				for i := range more {
					more[i] = byte(r.Uint32())
				}
				for _, f := range replicas { // those who have all of the log may get what is appended
					if f != p && len(f.log) == len(p.log) && f.history.Last() == p.history.Last() && r.IntN(2) == 0 {
						f.log = append(f.log, more...)
					}
				}
				p.log = append(p.log, more...)
			}
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h History
	for epoch := uint64(1); epoch < 2*maxEras; epoch++ {
		h = h.begin(epoch, LogStart+int64(epoch))
	}
	if len(h) != maxEras || h.Last().Epoch != 2*maxEras-1 {
		t.Errorf("%d eras, the last %+v", len(h), h.Last())
	}
}
