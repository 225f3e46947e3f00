package benchmark

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"weed/client"
	"weed/internal/blob"
)

// item is a fid in 16 bytes. The zero item is none: no volume has the id 0.
type item struct {
	key    blob.Key
	volume blob.VolumeID
	cookie blob.Cookie
}

func (it item) fid() blob.FileID {
	return blob.FileID{Volume: it.volume, Key: it.key, Cookie: it.cookie}
}

func itemOf(fid string) (item, error) {
	id, err := blob.ParseFileID(fid)
	return item{key: id.Key, volume: id.Volume, cookie: id.Cookie}, err
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes half of the output.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

const golden = 0x9e3779b97f4a7c15

// seed depends on the length too, so that a blob that was cut short has no byte in common with a whole one.
func (it item) seed(size int) uint64 {
	return mix(uint64(it.key)*golden ^ uint64(it.volume)<<32 ^ uint64(it.cookie) ^ mix(uint64(size)))
}

// size returns the length of a file: base and 0 to 63 more.
func (it item) size(base int) int { return base + int(mix(uint64(it.key)+1)%64) }

// fill writes the content of the file that is as long as b.
func (it item) fill(b []byte) {
	s := it.seed(len(b))
	for ; len(b) >= 8; b = b[8:] {
		s += golden
		binary.LittleEndian.PutUint64(b, mix(s))
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], mix(s+golden))
	copy(b, last[:])
}

// check compares b with the content of the file of that length, and returns the offset of the first word that
// differs, -1 for none.
func (it item) check(b []byte) int {
	s := it.seed(len(b))
	at := 0
	for ; len(b)-at >= 8; at += 8 {
		s += golden
		if binary.LittleEndian.Uint64(b[at:]) != mix(s) {
			return at
		}
	}
	var last [8]byte
	binary.LittleEndian.PutUint64(last[:], mix(s+golden))
	if string(b[at:]) != string(last[:len(b)-at]) {
		return at
	}
	return -1
}

// deleted tells the files that the delete phase takes: a function of the key, so that nothing is kept.
func (r *run) deleted(it item) bool {
	return mix(uint64(it.key)^golden)%100 < uint64(r.cfg.DeletePercent)
}

// worker is what one of the concurrent callers reuses from request to request.
type worker struct {
	buf []byte
	rnd *rand.Rand
}

// phase runs do for 0 <= i < n on the workers and records what came of it. do returns the bytes moved.
func (r *run) phase(ctx context.Context, name string, n int, do func(ctx context.Context, w *worker, i int) (int, error)) error {
	p := newPhase(name, r.cfg.Concurrency, n)
	stop := r.progress(p)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(r.cfg.Concurrency, n) {
		wg.Go(func() {
			w := &worker{rnd: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
			for ctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= n {
					return
				}
				start := time.Now()
				bytes, err := do(ctx, w, i)
				if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
					return // interrupted: neither done nor failed
				}
				p.record(time.Since(start), bytes, err)
			}
		})
	}
	wg.Wait()
	p.end()
	stop()
	r.report.Phases = append(r.report.Phases, p)
	if r.cfg.JSON {
		return nil
	}
	return p.writeText(r.out)
}

func (r *run) write(ctx context.Context) error {
	items := make([]item, r.cfg.N)
	opts := client.AssignOptions{Collection: r.cfg.Collection, Replication: r.cfg.Replication}
	err := r.phase(ctx, "Writing", r.cfg.N, func(ctx context.Context, w *worker, i int) (int, error) {
		a, err := r.c.Assign(ctx, opts)
		if err != nil {
			return 0, err
		}
		it, err := itemOf(a.FID)
		if err != nil {
			return 0, err
		}
		w.buf = sized(w.buf, it.size(r.cfg.Size))
		it.fill(w.buf)
		res, err := r.c.UploadTo(ctx, a.URL, a.FID, &client.Blob{Data: w.buf, Mime: "application/octet-stream"})
		if err != nil {
			return 0, err
		}
		if res.Size != int64(len(w.buf)) {
			return 0, fmt.Errorf("%s: %d bytes were written, the server tells %d", a.FID, len(w.buf), res.Size)
		}
		items[i] = it
		return len(w.buf), nil
	})
	// Failed and interrupted ones leave holes.
	r.items = items[:0]
	for _, it := range items {
		if it.volume != 0 {
			r.items = append(r.items, it)
		}
	}
	return err
}

func sized(b []byte, n int) []byte {
	if cap(b) < n {
		b = make([]byte, n+64)
	}
	return b[:n]
}

func (r *run) delete(ctx context.Context) error {
	var victims []item
	for _, it := range r.items {
		if r.deleted(it) {
			victims = append(victims, it)
		}
	}
	if len(victims) == 0 {
		return nil
	}
	return r.phase(ctx, "Deleting", len(victims), func(ctx context.Context, w *worker, i int) (int, error) {
		size, err := r.c.Delete(ctx, victims[i].fid().String())
		return int(size), err
	})
}

func (r *run) read(ctx context.Context) error {
	if r.cfg.Sequential {
		return r.phase(ctx, "Sequentially Reading", min(r.cfg.N, len(r.items)), func(ctx context.Context, w *worker, i int) (int, error) {
			return r.readOne(ctx, w, r.items[i])
		})
	}
	return r.phase(ctx, "Randomly Reading", r.cfg.N, func(ctx context.Context, w *worker, i int) (int, error) {
		return r.readOne(ctx, w, r.items[w.rnd.IntN(len(r.items))])
	})
}

// readOne reads a file and compares every byte. One that was deleted must not be there.
func (r *run) readOne(ctx context.Context, w *worker, it item) (int, error) {
	fid := it.fid().String()
	body, _, err := r.c.Get(ctx, fid, w.buf)
	if r.cfg.DeletePercent > 0 && r.deleted(it) {
		if errors.Is(err, client.ErrNotFound) {
			return 0, nil
		}
		if err == nil {
			err = fmt.Errorf("%s was deleted and is there", fid)
		}
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	w.buf = body
	// A list may come from a run with another size; no run writes empty files.
	if r.cfg.Write && len(body) != it.size(r.cfg.Size) || len(body) == 0 {
		return 0, fmt.Errorf("%s has %d bytes, %d were written", fid, len(body), it.size(r.cfg.Size))
	}
	if at := it.check(body); at >= 0 {
		return 0, fmt.Errorf("%s has wrong bytes at offset %d of %d", fid, at, len(body))
	}
	return len(body), nil
}
