package vfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// changeKind tells what a change did to a file's bytes.
type changeKind uint8

const (
	changeBytes changeKind = iota // data was written at offset
	changeSize                    // the file was cut or grown to offset
	changeFlip                    // the byte at offset was XORed with data[0], below the file system
)

type change struct {
	kind   changeKind
	state  changeState
	offset int64
	data   []byte
}

// changeState tells what a crash may do with a change.
type changeState uint8

const (
	unsynced changeState = iota // keep it or lose it; a Sync saves it
	lost                        // the same, but no Sync saves it: the one that should have has failed
	synced                      // keep it
)

func (c change) apply(to *content) {
	switch c.kind {
	case changeBytes:
		to.writeAt(c.data, c.offset)
	case changeSize:
		to.truncate(c.offset)
	case changeFlip:
		if c.offset < to.size {
			to.writable(c.offset / pageSize).data[c.offset%pageSize] ^= c.data[0]
		}
	}
}

// apply changes a file, not durably. The caller holds mu.
func (m *Mem) apply(n *node, c change) {
	m.used -= uint64(n.now.size)
	c.apply(&n.now)
	m.used += uint64(n.now.size)
	n.changes = append(n.changes, c)
	n.modTime = time.Now()
}

// sync settles the fate of all changes since the last Sync. What is safe from the start on moves to base.
func (n *node) sync(result changeState) {
	for i := n.settled; i < len(n.changes); i++ {
		if n.changes[i].state == unsynced {
			n.changes[i].state = result
		}
	}
	safe := 0
	for safe < len(n.changes) && n.changes[safe].state == synced {
		n.changes[safe].apply(&n.base)
		safe++
	}
	n.changes = slices.Delete(n.changes, 0, safe)
	n.settled = len(n.changes)
}

// Corrupt XORs the byte at offset of a file, for good: in what is read now and in what a crash leaves.
func (m *Mem) Corrupt(name string, offset int64, xor byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && (n.entries != nil || offset < 0 || offset >= n.now.size) {
		err = syscall.EINVAL
	}
	if err != nil {
		return pathError("corrupt", name, err)
	}
	m.apply(n, change{kind: changeFlip, state: synced, offset: offset, data: []byte{xor}})
	return nil
}

// memFile is an open file of a Mem, or a lock.
type memFile struct {
	disk   *Mem
	node   *node
	name   string
	flag   int
	locks  bool
	closed atomic.Bool
}

func (f *memFile) Name() string { return f.name }

// usable tells whether the handle is good for reading or writing. The caller holds disk.mu.
func (f *memFile) usable(denied int) error {
	if f.closed.Load() || f.disk.crashed {
		return fs.ErrClosed
	}
	if f.flag&(os.O_RDONLY|os.O_WRONLY|os.O_RDWR) == denied {
		return syscall.EBADF
	}
	return nil
}

const noneDenied = -1

func (f *memFile) ReadAt(b []byte, offset int64) (int, error) {
	err := f.disk.begin(Op{Kind: OpRead, Path: clean(f.name), Offset: offset, Len: len(b)})
	if err != nil {
		return 0, pathError("read", f.name, err)
	}
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	if err = f.usable(os.O_WRONLY); err == nil && offset < 0 {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, pathError("read", f.name, err)
	}
	return f.node.now.readAt(b, offset)
}

func (f *memFile) WriteAt(b []byte, offset int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	cause := f.disk.begin(Op{Kind: OpWrite, Path: clean(f.name), Offset: offset, Len: len(b)})
	fits := len(b)
	if cause != nil {
		fits = 0
		var partial *PartialError
		if errors.As(cause, &partial) {
			fits, cause = min(max(partial.Written, 0), len(b)), partial.Err
		}
	}
	m := f.disk
	m.mu.Lock()
	defer m.mu.Unlock()
	err := f.usable(os.O_RDONLY)
	switch {
	case err != nil:
	case offset < 0:
		err = syscall.EINVAL
	case offset > maxFileSize-int64(len(b)):
		err = syscall.EFBIG
	}
	if err != nil {
		return 0, pathError("write", f.name, err)
	}
	if room := f.node.now.size + int64(m.free()); offset+int64(fits) > room {
		fits, cause = int(max(room-offset, 0)), syscall.ENOSPC
	}
	if fits > 0 {
		m.apply(f.node, change{kind: changeBytes, offset: offset, data: slices.Clone(b[:fits])})
	}
	if cause != nil {
		return fits, pathError("write", f.name, cause)
	}
	return fits, nil
}

// maxFileSize keeps sums of sizes far from overflow. It is ext4's limit.
const maxFileSize = 16 << 40

func (f *memFile) Truncate(size int64) error {
	if err := f.truncate(size); err != nil {
		return pathError("truncate", f.name, err)
	}
	return nil
}

func (f *memFile) truncate(size int64) error {
	m := f.disk
	if err := m.begin(Op{Kind: OpTruncate, Path: clean(f.name), Offset: size}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := f.usable(os.O_RDONLY); err != nil {
		return err
	}
	grown := size - f.node.now.size
	switch {
	case size < 0:
		return syscall.EINVAL
	case size > maxFileSize:
		return syscall.EFBIG
	case grown > 0 && uint64(grown) > m.free():
		return syscall.ENOSPC
	case grown != 0:
		m.apply(f.node, change{kind: changeSize, offset: size})
	}
	return nil
}

func (f *memFile) Sync() error {
	fault := f.disk.begin(Op{Kind: OpSync, Path: clean(f.name)})
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(noneDenied); err != nil {
		return pathError("fdatasync", f.name, err)
	}
	n := f.node
	if fault != nil {
		n.sync(lost)
		return pathError("fdatasync", f.name, fault)
	}
	n.sync(synced)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	if err := f.usable(noneDenied); err != nil {
		return 0, pathError("stat", f.name, err)
	}
	return f.node.now.size, nil
}

func (f *memFile) Close() error {
	m := f.disk
	m.mu.Lock()
	defer m.mu.Unlock()
	if f.closed.Swap(true) || m.crashed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	if f.locks {
		delete(m.locks, f.node)
	}
	f.node.opens--
	m.release(f.node)
	return nil
}

// info is what Stat returns.
type info struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
}

func (n *node) info(name string) fs.FileInfo {
	return info{name: name, size: n.now.size, mode: n.mode, modTime: n.modTime}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.modTime }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
