package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a disk in memory, for tests. It keeps apart what a program sees and what a power cut would leave:
// Crash shows the latter. It does not check permissions, and it renames files only, not directories.
type Mem struct {
	ops   atomic.Int64
	fault atomic.Pointer[func(Op) error]

	mu       sync.RWMutex
	crashed  bool
	root     *node
	capacity uint64
	used     uint64 // sum of the sizes of all files that have a name or are open
	locks    map[*node]bool
}

var _ FS = (*Mem)(nil)

// node is a file or a directory, whatever its names.
type node struct {
	modTime time.Time
	mode    fs.FileMode

	// Directories: the names as seen, as last synced, and what happened in between, in order.
	entries  map[string]*node
	durable  map[string]*node
	unsynced []nameChange

	// Files: the bytes as seen, a durable image, and what happened since, in order. changes[:settled] are
	// older than the last Sync and wait behind one that a failed Sync has lost.
	now     content
	base    content
	changes []change
	settled int
	names   int
	opens   int
}

func newDir(mode fs.FileMode) *node {
	return &node{mode: fs.ModeDir | mode.Perm(), modTime: time.Now(),
		entries: map[string]*node{}, durable: map[string]*node{}}
}

// NewMem returns an empty disk that never fails and whose root directory is durable.
func NewMem() *Mem {
	return &Mem{root: newDir(0o755), capacity: math.MaxInt64, locks: map[*node]bool{}}
}

// SetCapacity sets the room of the disk in bytes of file content. A write that does not fit writes what
// does and fails with ENOSPC; a Truncate that grows a file takes room as a preallocation would.
func (m *Mem) SetCapacity(sizeBytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = min(sizeBytes, math.MaxInt64)
}

// Usage returns the capacity and what is free of it.
func (m *Mem) Usage(name string) (Usage, error) {
	if err := m.begin(Op{Kind: OpUsage, Path: clean(name)}); err != nil {
		return Usage{}, pathError("statfs", name, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.find(name); err != nil {
		return Usage{}, pathError("statfs", name, err)
	}
	return Usage{TotalBytes: m.capacity, FreeBytes: m.free()}, nil
}

func (m *Mem) free() uint64 { return m.capacity - min(m.used, m.capacity) }

func clean(name string) string { return path.Clean("/" + name) }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// find returns the node of a path. The caller holds mu.
func (m *Mem) find(name string) (*node, error) {
	if m.crashed {
		return nil, fs.ErrClosed
	}
	if name == "" {
		return nil, syscall.ENOENT
	}
	at := m.root
	for element := range strings.SplitSeq(clean(name)[1:], "/") {
		if element == "" {
			break
		}
		if at.entries == nil {
			return nil, syscall.ENOTDIR
		}
		if at = at.entries[element]; at == nil {
			return nil, syscall.ENOENT
		}
	}
	return at, nil
}

// findParent returns the directory that holds or would hold a path, and the last element of the path,
// which is "/" for the root.
func (m *Mem) findParent(name string) (dir *node, base string, err error) {
	if name == "" {
		return nil, "", syscall.ENOENT
	}
	if dir, err = m.find(path.Dir(clean(name))); err == nil && dir.entries == nil {
		err = syscall.ENOTDIR
	}
	return dir, path.Base(clean(name)), err
}

// release gives a file's room back when neither a name nor a handle is left.
func (m *Mem) release(n *node) {
	if n.names == 0 && n.opens == 0 {
		m.used -= uint64(n.now.size)
	}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	n, err := m.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &memFile{disk: m, node: n, name: name, flag: flag}, nil
}

func (m *Mem) open(name string, flag int, perm fs.FileMode) (*node, error) {
	const access = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
	if flag&os.O_APPEND != 0 || flag&os.O_TRUNC != 0 && flag&access == os.O_RDONLY {
		return nil, syscall.EINVAL
	}
	op := Op{Kind: OpOpen, Path: clean(name)}
	m.mu.RLock()
	_, err := m.find(name)
	m.mu.RUnlock()
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		op.Kind = OpCreate
	case err == nil && flag&os.O_TRUNC != 0:
		op.Kind = OpTruncate
	}
	if err := m.begin(op); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		if n, err = m.create(name, perm); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, syscall.EEXIST
	case n.entries != nil:
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0 && n.now.size > 0:
		m.apply(n, change{kind: changeSize})
	}
	n.opens++
	return n, nil
}

func (m *Mem) create(name string, perm fs.FileMode) (*node, error) {
	dir, base, err := m.findParent(name)
	if err != nil {
		return nil, err
	}
	n := &node{mode: perm.Perm(), modTime: time.Now()}
	m.set(dir, base, n)
	dir.unsynced = append(dir.unsynced, nameChange{added: base, node: n})
	return n, nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := m.begin(Op{Kind: OpReadDir, Path: clean(name)}); err != nil {
		return nil, pathError("open", name, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	dir, err := m.find(name)
	if err == nil && dir.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	list := make([]fs.DirEntry, 0, len(dir.entries))
	for _, base := range slices.Sorted(maps.Keys(dir.entries)) {
		list = append(list, fs.FileInfoToDirEntry(dir.entries[base].info(base)))
	}
	return list, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.begin(Op{Kind: OpStat, Path: clean(name)}); err != nil {
		return nil, pathError("stat", name, err)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.find(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return n.info(path.Base(name)), nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	n, err := m.open(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	file := &memFile{disk: m, node: n, name: name}
	m.mu.Lock()
	taken := m.locks[n]
	file.locks = !taken
	m.locks[n] = true
	m.mu.Unlock()
	if taken {
		return nil, errors.Join(pathError("lock", name, ErrLocked), file.Close())
	}
	return file, nil
}
