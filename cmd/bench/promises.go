package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// cpuOfPutAndGet measures the volume server alone: 1 KiB puts and gets.
func (b *bench) cpuOfPutAndGet() error {
	s, r, err := b.startFilled(b.blobs, 1024)
	if err != nil {
		return err
	}
	bare, err := b.startBare()
	if err != nil {
		return err
	}
	for _, connections := range []int{16, 64} {
		yardstick, err := b.cost(bare.addr, "", connections, bare)
		if err != nil {
			return err
		}
		b.note(fmt.Sprintf("CPU of a bare fasthttp server per 1 KiB GET, %d connections", connections), yardstick[0], "µs")
		var puts, gets []float64
		for range b.rounds {
			put, err := b.cost(s.volume.addr, putScript(r), connections, s.volume)
			if err != nil {
				return err
			}
			get, err := b.cost(s.volume.addr, getScript(r), connections, s.volume)
			if err != nil {
				return err
			}
			puts, gets = append(puts, put[0]), append(gets, get[0])
		}
		b.atMost(fmt.Sprintf("CPU of the volume server per 1 KiB PUT, %d connections", connections), median(puts), 25, "µs")
		b.atMost(fmt.Sprintf("CPU of the volume server per 1 KiB GET, %d connections", connections), median(gets), 18, "µs")
	}
	return nil
}

// startFilled starts a store that holds a blob of sizeBytes under each of count fids.
func (b *bench) startFilled(count, sizeBytes int) (s *store, r fidRange, err error) {
	if s, err = b.startStore("never"); err != nil {
		return nil, r, err
	}
	if r, err = s.assign(count); err != nil {
		return nil, r, err
	}
	return s, r, fillRange("http://"+s.volume.addr, r, sizeBytes)
}

// cpuOfMaster measures assign, and what submit costs the master.
func (b *bench) cpuOfMaster() error {
	s, err := b.startStore("never")
	if err != nil {
		return err
	}
	if _, err := s.assign(1); err != nil { // grows the first volumes
		return err
	}
	const get = `function request() return wrk.format("GET", "/dir/assign") end`
	submit := form(1024) + `function request() return wrk.format("POST", "/submit", headers, body) end`
	var assigns, submits []float64
	for range b.rounds {
		c, err := b.cost(s.master.addr, get, 16, s.master)
		if err != nil {
			return err
		}
		assigns = append(assigns, c[0])
		if c, err = b.cost(s.master.addr, submit, 16, s.master, s.volume); err != nil {
			return err
		}
		submits = append(submits, c[0])
	}
	b.atMost("CPU of the master per assign", median(assigns), 10, "µs")
	b.atMost("CPU of the master per submit of 1 KiB", median(submits), 40, "µs")
	return nil
}

// largeBlobs measures 4 MiB blobs: memory while many are put, processor time while they are read.
func (b *bench) largeBlobs() error {
	const size, count = 4 << 20, 256
	s, r, err := b.startFilled(count, size)
	if err != nil {
		return err
	}
	peak, err := s.volume.peakMemory()
	if err != nil {
		return err
	}
	b.atMost("peak memory of the volume server, 1 GiB of parallel 4 MiB PUTs", float64(peak)/(1<<20), 400, "MiB")
	// The first reads verify checksums, the later ones find that done.
	for _, what := range []string{"first reads", "read again"} {
		costs, err := b.cost(s.volume.addr, getScript(r), 16, s.volume)
		if err != nil {
			return err
		}
		if perMB := costs[0] / (size / 1e6); what == "read again" {
			b.atMost("CPU of the volume server per MB of 4 MiB GETs, "+what, perMB, 150, "µs")
		} else {
			b.note("CPU of the volume server per MB of 4 MiB GETs, "+what, perMB, "µs")
		}
	}
	return nil
}

// groupCommit compares durable puts with one fdatasync per write on the same disk.
func (b *bench) groupCommit() error {
	s, err := b.startStore("always")
	if err != nil {
		return err
	}
	r, err := s.assign(1_000_000)
	if err != nil {
		return err
	}
	rates := map[int][]float64{}
	var raw, engine []float64
	for range b.rounds {
		perSec, err := b.rawSyncs()
		if err != nil {
			return err
		}
		raw = append(raw, perSec)
		alone, err := b.engineAlone()
		if err != nil {
			return err
		}
		engine = append(engine, alone/perSec)
		for _, writers := range []int{1, 16, 64} {
			l, err := b.wrk(s.volume.addr, putScript(r), writers)
			if err == nil && l.failed > 0 {
				err = fmt.Errorf("%.0f of %.0f requests failed", l.failed, l.requests)
			}
			if err != nil {
				return err
			}
			rates[writers] = append(rates[writers], l.perSec/raw[len(raw)-1])
		}
	}
	b.note("one fdatasync per 1 KiB write, one writer", median(raw), "/s")
	b.ratio("durable puts of the storage engine alone, 1 writer, against that", median(engine), 1/1.3)
	b.ratio("durable PUTs over HTTP, 64 writers, against that", median(rates[64]), 8)
	b.ratio("durable PUTs over HTTP, 16 writers, against that", median(rates[16]), 3)
	b.note("durable PUTs over HTTP, 1 writer, against that", median(rates[1]), "x")
	return nil
}

// engineAlone puts 1 KiB into a volume, durably, again and again, and returns how often a second that goes.
func (b *bench) engineAlone() (perSec float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "engine-")
	if err != nil {
		return 0, err
	}
	store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: dir, MaxVolumes: 1}}, storage.Config{})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	v, err := store.Create(1, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		return 0, err
	}
	data := make([]byte, 1024)
	n, begin := 0, time.Now()
	for time.Since(begin) < b.duration {
		if err := v.Put(&storage.Needle{Key: blob.Key(n + 1), Data: data}); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}

// rawSyncs appends 1 KiB and syncs, again and again, and returns how often a second that goes.
func (b *bench) rawSyncs() (float64, error) {
	f, err := os.Create(filepath.Join(b.dir, "raw"))
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // scratch
	data := make([]byte, 1024)
	n, begin := 0, time.Now()
	for time.Since(begin) < b.duration {
		if _, err := f.Write(data); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
