package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestConcurrentUse has writers, readers, Status, SetReadOnly and, in the middle, Close at work on one volume.
// Every write is answered with success, or was refused and has had no effect; no reader sees a needle that
// is not whole or not the key's.
func TestConcurrentUse(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNever} {
		t.Run(policy.String(), func(t *testing.T) {
			disk, m := vfs.NewMem(), newModel()
			s, v := createTestVolume(t, disk, Config{Sync: policy})
			u := &concurrentUse{t: t, v: v, m: m}
			var group sync.WaitGroup
			for i := range 32 {
				group.Go(func() { u.write(blob.Key(i * writerKeys)) })
			}
			for i := range 8 {
				group.Go(func() { u.read(blob.Key(i)) })
			}
			group.Go(u.watch)
			group.Go(func() {
				for u.written.Load() < 1500 {
					if err := v.SetReadOnly(CauseNoSpace, u.written.Load()%7 == 0); err != nil {
						t.Error(err)
					}
					if err := v.Sync(); err != nil {
						t.Error(err)
					}
				}
				if err := errors.Join(v.SetReadOnly(CauseNoSpace, false), s.Close()); err != nil {
					t.Error(err)
				}
				u.closed.Store(true)
			})
			group.Wait()
			m.checkDisk(t, disk.Image(vfs.LoseUnsynced, nil), "after Close")
		})
	}
}

const writerKeys = 6

type concurrentUse struct {
	t       *testing.T
	v       *Volume
	m       *model
	written atomic.Int64
	closed  atomic.Bool
}

// data tells whose it is and how long it should be.
func (u *concurrentUse) data(key blob.Key, i int) []byte {
	size := 16 + (int(key)*31+i*17)%900
	if i%40 == 39 {
		size = copyLimit + i
	}
	b := payload(uint64(key)+uint64(i)<<32, size)
	binary.BigEndian.PutUint64(b, uint64(key))
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	return b
}

func (u *concurrentUse) write(base blob.Key) {
	for i := 0; ; i++ {
		key := base + blob.Key(i%writerKeys)
		var n *Needle
		var err error
		if i%5 == 4 {
			u.m.begin(key, nil)
			_, err = u.v.Delete(key, testCookie)
		} else {
			n = &Needle{Key: key, Cookie: testCookie, Data: u.data(key, i)}
			u.m.begin(key, n)
			if i%9 == 0 {
				err = u.v.PutDurable(n)
			} else {
				err = u.v.Put(n)
			}
		}
		u.m.end(key, n, err, false)
		u.written.Add(1)
		switch {
		case errors.Is(err, ErrClosed):
			return
		case err != nil && !errors.Is(err, ErrReadOnly) && !(n == nil && errors.Is(err, ErrNotFound)):
			u.t.Errorf("write of key %d: %v", key, err)
			return
		}
	}
}

func (u *concurrentUse) read(key blob.Key) {
	var scratch []byte
	for !u.closed.Load() {
		key = (key*7 + 13) % (32 * writerKeys)
		n, buf, err := u.v.Get(key, testCookie, scratch)
		scratch = buf
		if err == nil && (len(n.Data) < 12 || binary.BigEndian.Uint64(n.Data) != uint64(key) || binary.BigEndian.Uint32(n.Data[8:]) != uint32(len(n.Data))) {
			err = fmt.Errorf("%d bytes of something else", len(n.Data))
		}
		if err == nil || errors.Is(err, ErrNotFound) {
			var b *Blob
			if b, err = u.v.Open(key, testCookie); err == nil {
				head := make([]byte, 12)
				if _, err = b.ReadAt(head, 0); err == nil && binary.BigEndian.Uint32(head[8:]) != uint32(b.DataSize()) {
					err = errors.New("a blob of another length")
				}
			}
		}
		if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrClosed) {
			u.t.Errorf("read of key %d: %v", key, err)
			return
		}
	}
}

// watch checks that what Status tells moves as it should.
func (u *concurrentUse) watch() {
	var before VolumeStatus
	for !u.closed.Load() {
		now := u.v.Status()
		if now.SizeBytes < before.SizeBytes || now.DeletedCount < before.DeletedCount || now.Live > 32*writerKeys || now.MaxKey < before.MaxKey {
			u.t.Errorf("%+v, then %+v", before, now)
			return
		}
		before = now
	}
}

// TestCloseWhileClosing: all callers wait for the same result, and later calls are refused.
func TestCloseWhileClosing(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	mustPut(t, v, 1, []byte("x"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			if v.meta.Clean == nil {
				t.Error("Close came back before the volume was marked clean")
			}
		})
		group.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	_, _, getErr := v.Get(1, testCookie, nil)
	_, deleteErr := v.Delete(1, testCookie)
	_, createErr := s.Create(8, "", blob.Placement{}, blob.TTL{})
	for _, err := range []error{getErr, deleteErr, createErr, v.Put(&Needle{Key: 2}), v.SetReadOnly(CauseOperator, true)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestOneCommit has operations on one key share a commit: each sees what the ones before it leave.
func TestOneCommit(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	var results []error
	var sizes []int64
	var ops []func()
	put := func(key blob.Key, cookie blob.Cookie, data string) {
		i := len(ops)
		results, sizes = append(results, nil), append(sizes, 0)
		ops = append(ops, func() { results[i] = v.Put(&Needle{Key: key, Cookie: cookie, Data: []byte(data)}) })
	}
	remove := func(key blob.Key, cookie blob.Cookie) {
		i := len(ops)
		results, sizes = append(results, nil), append(sizes, 0)
		ops = append(ops, func() { sizes[i], results[i] = v.Delete(key, cookie) })
	}
	mustPut(t, v, 1, []byte("first"))
	put(1, testCookie, "second")
	put(1, testCookie+1, "of another")
	remove(1, testCookie+1)
	remove(1, testCookie)
	remove(1, testCookie)
	put(1, testCookie, "third time")
	put(2, testCookie, "kept")
	put(2, testCookie, "kept, too")
	put(3, testCookie, "brief")
	want := []error{nil, ErrCookie, ErrNotFound, nil, ErrNotFound, nil, nil, nil, nil}
	together(t, disk, v, ops...)
	for i, err := range results {
		if !errors.Is(err, want[i]) {
			t.Errorf("operation %d: %v, want %v", i, err, want[i])
		}
	}
	if sizes[3] != int64(len("second")) {
		t.Errorf("the delete tells of %d bytes", sizes[3])
	}
	waitIdle(v)
	killed := disk.Image(vfs.LoseNothing, nil)
	closeStore(t, s)
	for _, disk := range []*vfs.Mem{disk, killed} {
		records := logRecords(Version3, readTestFile(t, disk, testBase+".dat"))
		for i, r := range records[2:] {
			if r.appendAtNs&batchMask != batchNumber(i) || r.appendAtNs&^batchMask != records[2].appendAtNs&^batchMask {
				t.Errorf("record %d was written at %x", i, r.appendAtNs)
			}
		}
		if len(records) != 2+6 {
			t.Errorf("%d records", len(records))
		}
		s, v := openTestVolume(t, disk, Config{})
		wantData(t, v, 1, []byte("third time"))
		wantData(t, v, 2, []byte("kept, too"))
		wantData(t, v, 3, []byte("brief"))
		closeStore(t, s)
	}
}
