package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// vacuum measures what a compaction costs those who write meanwhile, and what memory one of many blobs takes.
func (b *bench) vacuum() error {
	if err := b.vacuumUnderLoad(); err != nil {
		return err
	}
	return b.vacuumOfMany()
}

// vacuumUnderLoad overwrites a few blobs of two copies, without and with vacuums of the volume one after the other.
func (b *bench) vacuumUnderLoad() error {
	r, err := b.startReplicated(2, "always")
	if err != nil {
		return err
	}
	c, err := r.assign(b, 2)
	if err != nil {
		return err
	}
	c.fids.count = 20000
	script := putScript(c.fids)
	measure := func() (p99 float64, err error) {
		l, err := b.wrk(c.primary, script, 16)
		if err == nil && l.failed > 0 {
			err = fmt.Errorf("%.0f of %.0f requests failed", l.failed, l.requests)
		}
		return l.p99, err
	}
	var quiet, busy []float64
	for range b.rounds {
		alone, err := measure()
		if err != nil {
			return err
		}
		quiet = append(quiet, alone)
		var stop atomic.Bool
		var beside sync.WaitGroup
		var failure error
		beside.Go(func() {
			for !stop.Load() && failure == nil {
				failure = getJSON("http://"+r.master.addr+"/vol/vacuum?garbageThreshold=0.01&volumeId="+c.fids.volume, nil)
				time.Sleep(100 * time.Millisecond) // most calls find that nothing was reported since
			}
		})
		under, err := measure()
		stop.Store(true)
		beside.Wait()
		if err = errors.Join(err, failure); err != nil {
			return err
		}
		busy = append(busy, under)
	}
	b.note("1 KiB PUTs of 2 copies, 16 connections, p99", median(quiet), "ms")
	b.note("the same while the volume is compacted again and again, p99", median(busy), "ms")
	var status struct{ Origin struct{ Revision float64 } }
	if err := getJSON("http://"+c.primary+"/internal/volume/vacuum?volumeId="+c.fids.volume, &status); err != nil {
		return err
	}
	b.note("compactions in that time", status.Origin.Revision, "")
	b.atMost("what that adds to the p99", median(busy)-median(quiet), 100, "ms")
	return nil
}

// vacuumOfMany compacts a volume of many small blobs of which half are deleted.
func (b *bench) vacuumOfMany() error {
	dir := filepath.Join(b.dir, "many")
	if err := fillVolume(dir, b.needles); err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	at, err := freeAddr()
	if err != nil {
		return err
	}
	master, err := b.start(addr, b.weed, "master", "-port="+port(addr), "-mdir="+filepath.Join(b.dir, "many-m"), "-garbageThreshold=1")
	if err != nil {
		return err
	}
	server, err := b.start(at, b.weed, "volume", "-port="+port(at), "-dir="+dir, "-mserver="+addr, "-compactionMBps=0")
	if err != nil {
		return err
	}
	if err := b.wait(func() error { return getJSON("http://"+addr+"/dir/lookup?volumeId=1", nil) }); err != nil {
		return err
	}
	before, err := server.peakMemory()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := getJSON("http://"+master.addr+"/vol/vacuum?garbageThreshold=0.1&volumeId=1", nil); err != nil {
		return err
	}
	var status struct {
		Volumes []struct{ CompactRevision int }
	}
	err = getJSON("http://"+at+"/status", &status)
	if err == nil && (len(status.Volumes) != 1 || status.Volumes[0].CompactRevision != 1) {
		err = fmt.Errorf("the volume was not compacted: %+v", status)
	}
	if err != nil {
		return err
	}
	after, err := server.peakMemory()
	if err != nil {
		return err
	}
	b.note(fmt.Sprintf("vacuum of %d blobs, half of them deleted", b.needles), time.Since(began).Seconds(), "s")
	b.note("peak memory of the server before", float64(before)/(1<<20), "MiB")
	b.note("peak memory of the server after", float64(after)/(1<<20), "MiB")
	b.atMost("what it took beside, for each blob", float64(after-before)/float64(b.needles), 40, "bytes")
	return nil
}

// fillVolume makes volume 1 with n blobs of 100 bytes, and deletes each other one.
func fillVolume(dir string, n int) (err error) {
	store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: dir, MaxVolumes: 7}}, storage.Config{Sync: storage.SyncNever})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	v, err := store.Create(1, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		return err
	}
	const writers = 64
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			data := make([]byte, 100)
			for key := w + 1; key <= n && ctx.Err() == nil; key += writers {
				err := v.Put(&storage.Needle{Key: blob.Key(key), Cookie: 7, Data: data})
				if err == nil && key/writers%2 == 1 {
					_, err = v.Delete(blob.Key(key), 7)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}
