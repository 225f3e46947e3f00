package vfs

import (
	"fmt"
	"path"
	"slices"
)

// OpKind is the kind of an operation on a Mem.
type OpKind uint8

// The kinds. Those from OpCreate on change the disk: they are counted, and FailAt may fail them.
const (
	OpOpen OpKind = iota // OpenFile of a file that exists
	OpStat
	OpReadDir
	OpUsage
	OpRead
	OpCreate // OpenFile or Lock that makes a new file
	OpWrite
	OpTruncate // File.Truncate, or OpenFile with O_TRUNC
	OpSync
	OpRename
	OpRemove
	OpMkdir
	OpSyncDir
)

var opNames = [...]string{"open", "stat", "readdir", "usage", "read", "create", "write", "truncate", "sync",
	"rename", "remove", "mkdir", "syncdir"}

func (k OpKind) String() string { return opNames[k] }

// Mutates reports whether operations of this kind change the disk, and so are counted.
func (k OpKind) Mutates() bool { return k >= OpCreate }

// Op describes an operation that is about to happen.
type Op struct {
	Kind OpKind
	Path string // absolute; of a rename the old name
	// Index counts the operations that mutate since NewMem or the crash, from 1. It is 0 for all others.
	Index int
	// Offset and Len are a read's or write's, in bytes. A truncation has its new size in Offset.
	Offset int64
	Len    int
}

func (o Op) String() string {
	return fmt.Sprintf("%d: %s %s [%d +%d]", o.Index, o.Kind, o.Path, o.Offset, o.Len)
}

// Is reports whether the operation is of one of the kinds (none given: of any) and its path matches the
// glob of package path, either in full or, for a glob without a slash, in its last element.
func (o Op) Is(glob string, kinds ...OpKind) bool {
	if len(kinds) > 0 && !slices.Contains(kinds, o.Kind) {
		return false
	}
	full, err := path.Match(glob, o.Path)
	if err != nil {
		panic(fmt.Sprintf("vfs: glob %q: %v", glob, err))
	}
	last, _ := path.Match(glob, path.Base(o.Path))
	return full || last
}

// A PartialError that a fault returns for a write lets the first Written bytes reach the file before the
// write fails with Err.
type PartialError struct {
	Written int
	Err     error
}

func (e *PartialError) Error() string { return fmt.Sprintf("after %d bytes: %v", e.Written, e.Err) }

// Unwrap returns what the caller of the operation gets to see.
func (e *PartialError) Unwrap() error { return e.Err }

// SetFault has fault called before every operation, reads included; an error that it returns fails the
// operation, which then has no effect (but see PartialError). nil ends all faults. fault runs in the
// goroutine of the operation with no lock held: it is called concurrently, it may block to hold the
// operation up, and it may call Crash.
//
// A Sync that is failed behaves as on Linux: the bytes stay readable, a later Sync does not save them, and
// a crash may keep or lose them.
func (m *Mem) SetFault(fault func(Op) error) {
	if fault == nil {
		m.fault.Store(nil)
		return
	}
	m.fault.Store(&fault)
}

// FailAt fails the mutating operation with Index n, and no other. It replaces the fault set before.
func (m *Mem) FailAt(n int, err error) {
	m.SetFault(func(op Op) error {
		if op.Index == n {
			return err
		}
		return nil
	})
}

// FailFrom fails all mutating operations from Index n on. It replaces the fault set before.
func (m *Mem) FailFrom(n int, err error) {
	m.SetFault(func(op Op) error {
		if op.Index >= n {
			return err
		}
		return nil
	})
}

// OpCount returns the number of mutating operations so far, those that failed included: the highest Index.
func (m *Mem) OpCount() int { return int(m.ops.Load()) }

// begin counts an operation and asks the fault about it. The caller holds no lock.
func (m *Mem) begin(op Op) error {
	if op.Kind.Mutates() {
		op.Index = int(m.ops.Add(1))
	}
	if fault := m.fault.Load(); fault != nil {
		return (*fault)(op)
	}
	return nil
}
