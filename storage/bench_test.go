package storage

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// openCount is the size of the volume of BenchmarkOpen. It stays small unless asked for.
var openCount = flag.Int("needles", 1_000_000, "needles in the volume of BenchmarkOpen")

func benchmarkVolume(b *testing.B, policy SyncPolicy) *Volume {
	b.Helper()
	s, err := OpenStore(vfs.OS, []Directory{{Path: b.TempDir(), MaxVolumes: 1}}, Config{Sync: policy})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeStore(b, s) })
	v, err := s.Create(7, "", blob.Placement{}, blob.TTL{})
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// parallel runs op b.N times in all from so many goroutines.
func parallel(b *testing.B, goroutines int, op func(i uint64)) {
	var next atomic.Uint64
	done := make(chan struct{})
	total := uint64(b.N)
	cpu := cpuTime(b)
	b.ResetTimer()
	for range goroutines {
		go func() {
			for i := next.Add(1); i <= total; i = next.Add(1) {
				op(i)
			}
			done <- struct{}{}
		}()
	}
	for range goroutines {
		<-done
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkPut appends 1 KiB without waiting for the disk.
func BenchmarkPut(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) { benchmarkPut(b, SyncNever, goroutines) })
	}
}

// BenchmarkPutDurable appends 1 KiB and syncs; BenchmarkRawSync is what one sync per write would cost.
func BenchmarkPutDurable(b *testing.B) {
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(goroutines), func(b *testing.B) { benchmarkPut(b, SyncAlways, goroutines) })
	}
}

func benchmarkPut(b *testing.B, policy SyncPolicy, goroutines int) {
	v := benchmarkVolume(b, policy)
	data := payload(1, 1024)
	b.ReportAllocs()
	parallel(b, goroutines, func(i uint64) {
		n := Needle{Key: blob.Key(i), Cookie: testCookie, Data: data, LastModified: 1700000000}
		if err := v.Put(&n); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkRawSync writes 1 KiB and syncs, each time, without the engine.
func BenchmarkRawSync(b *testing.B) {
	f, err := vfs.OS.OpenFile(b.TempDir()+"/raw", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	data := payload(1, 1064)
	for i := range b.N {
		if _, err := f.WriteAt(data, int64(i*len(data))); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet reads 1 KiB from the page cache.
func BenchmarkGet(b *testing.B) {
	const needles = 50_000
	v := benchmarkVolume(b, SyncNever)
	data := payload(1, 1024)
	for i := range needles {
		mustPut(b, v, blob.Key(i), data)
	}
	var scratch []byte
	b.ReportAllocs()
	cpu := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		_, buf, err := v.Get(blob.Key(i*7919%needles), testCookie, scratch)
		if err != nil {
			b.Fatal(err)
		}
		scratch = buf
	}
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkOpen opens a closed volume of -needles small needles, and one whose index file is gone.
func BenchmarkOpen(b *testing.B) {
	disk, dir := vfs.OS, b.TempDir()
	writeManyNeedles(b, dir+"/7", *openCount)
	open := func(b *testing.B, before func()) {
		used := time.Duration(0)
		for range b.N {
			before()
			cpu := cpuTime(b)
			s, err := OpenStore(disk, []Directory{{Path: dir}}, Config{})
			if err != nil {
				b.Fatal(err)
			}
			used += cpuTime(b) - cpu
			v, ok := s.Volume(7)
			if !ok || v.Status().Live != *openCount || v.Status().ReadOnly != 0 {
				b.Fatal("the volume is not what was written")
			}
			b.ReportMetric(float64(v.Status().IndexBytes)/float64(*openCount), "B/needle")
			closeStore(b, s)
		}
		b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
	}
	b.Run("closed", func(b *testing.B) { open(b, func() {}) })
	b.Run("no index file", func(b *testing.B) {
		open(b, func() {
			if err := os.Remove(dir + "/7.idx"); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// writeManyNeedles makes a closed volume of needles of 8 bytes, whose keys come in runs as masters lease
// them, a few out of order.
func writeManyNeedles(b *testing.B, base string, count int) {
	b.Helper()
	dat := Superblock{Version: Version3}.AppendBinary(nil)
	var idx []byte
	var r record
	n := Needle{Cookie: testCookie, Data: make([]byte, 8)}
	for i := range count {
		n.Key = blob.Key(i + i/1000*6000)
		if i%16 == 0 {
			n.Key += 3000 // into a gap
		}
		binary.LittleEndian.PutUint64(n.Data, uint64(i))
		n.Checksum = Checksum(n.Data)
		if err := r.encodePut(Version3, &n); err != nil {
			b.Fatal(err)
		}
		r.stamp(exampleNs&^batchMask + uint64(i)<<12 + batchNumber(0))
		idx = idxEntry{key: n.Key, offset: uint32(len(dat) / 8), size: int32(r.size)}.appendTo(idx)
		dat = r.appendTo(dat)
	}
	m := meta{Clean: &cleanMark{DatBytes: int64(len(dat)), IdxBytes: int64(len(idx))}}
	for ext, content := range map[string][]byte{".dat": dat, ".idx": idx} {
		if err := os.WriteFile(base+ext, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := m.write(vfs.OS, base+".meta"); err != nil {
		b.Fatal(err)
	}
}
