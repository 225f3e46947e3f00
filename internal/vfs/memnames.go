package vfs

import (
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// nameChange is what one operation did to a directory; node is nil for a name that went away. A rename
// within the directory is both at once.
type nameChange struct {
	removed, added string
	node           *node
}

func (c nameChange) apply(entries map[string]*node) {
	if c.removed != "" {
		delete(entries, c.removed)
	}
	if c.node != nil {
		entries[c.added] = c.node
	}
}

// set gives node the name within dir, or takes the name away when node is nil.
func (m *Mem) set(dir *node, name string, n *node) {
	old := dir.entries[name]
	if n == nil {
		delete(dir.entries, name)
	} else {
		dir.entries[name] = n
		n.names++
	}
	if old != nil {
		old.names--
		m.release(old)
	}
	dir.modTime = time.Now()
}

// Rename implements FS. Between two directories it is two changes of names, which a crash may part.
func (m *Mem) Rename(oldName, newName string) error {
	if err := m.rename(oldName, newName); err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

func (m *Mem) rename(oldName, newName string) error {
	if err := m.begin(Op{Kind: OpRename, Path: clean(oldName)}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(oldName)
	if err != nil {
		return err
	}
	if n.entries != nil {
		return syscall.EINVAL
	}
	to, newBase, err := m.findParent(newName)
	if err != nil {
		return err
	}
	if target, err := m.find(newName); err == nil && target.entries != nil {
		return syscall.EEXIST
	}
	from, oldBase, err := m.findParent(oldName)
	if err != nil || from == to && oldBase == newBase {
		return err
	}
	m.set(to, newBase, n)
	m.set(from, oldBase, nil)
	if from == to {
		to.unsynced = append(to.unsynced, nameChange{removed: oldBase, added: newBase, node: n})
		return nil
	}
	to.unsynced = append(to.unsynced, nameChange{added: newBase, node: n})
	from.unsynced = append(from.unsynced, nameChange{removed: oldBase})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	if err := m.remove(name); err != nil {
		return pathError("remove", name, err)
	}
	return nil
}

func (m *Mem) remove(name string) error {
	if err := m.begin(Op{Kind: OpRemove, Path: clean(name)}); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	switch {
	case err != nil:
		return err
	case n == m.root:
		return syscall.EBUSY
	case len(n.entries) > 0:
		return syscall.ENOTEMPTY
	}
	dir, base, err := m.findParent(name)
	if err != nil {
		return err
	}
	m.set(dir, base, nil)
	dir.unsynced = append(dir.unsynced, nameChange{removed: base})
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	if err := m.begin(Op{Kind: OpMkdir, Path: clean(name)}); err != nil {
		return pathError("mkdir", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return pathError("mkdir", name, fs.ErrClosed)
	}
	at := m.root
	for element := range strings.SplitSeq(clean(name)[1:], "/") {
		if element == "" {
			break
		}
		next := at.entries[element]
		if next == nil {
			next = newDir(perm)
			m.set(at, element, next)
			at.unsynced = append(at.unsynced, nameChange{added: element, node: next})
		}
		if next.entries == nil {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		at = next
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	if err := m.begin(Op{Kind: OpSyncDir, Path: clean(name)}); err != nil {
		return pathError("sync", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.find(name)
	if err == nil && dir.entries == nil {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	for _, c := range dir.unsynced {
		c.apply(dir.durable)
	}
	dir.unsynced = nil
	return nil
}
