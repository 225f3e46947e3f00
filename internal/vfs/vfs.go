// Package vfs is the seam between the storage engine and the disk.
//
// OS is the real thing. Mem is a disk in memory that can fail its n-th operation and that loses what was
// not synced when it crashes, so that tests can put the engine through every way a disk can let it down.
//
// Durability contract, the same for both: bytes are safe after File.Sync has returned nil; a created,
// renamed or removed name is safe after FS.SyncDir of its directory has returned nil. Paths are cleaned,
// slash-separated, relative to the process or absolute.
package vfs

import (
	"io"
	"io/fs"
)

// FS is a file system. Errors are those of package os: they match fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission, syscall.ENOSPC, syscall.EIO with errors.Is.
type FS interface {
	// OpenFile opens name with the flags of package os (O_RDONLY, O_RDWR, O_CREATE, O_EXCL, O_TRUNC).
	// O_APPEND is not supported: callers write at offsets.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// ReadDir lists a directory in name order.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	Rename(oldName, newName string) error
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock on name, creating it if need be, without waiting. Closing the returned
	// value releases it. A lock that somebody else holds is ErrLocked.
	Lock(name string) (io.Closer, error)
	// Usage tells how much room the file system that holds name has.
	Usage(name string) (Usage, error)
}

// File is an open file. All methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the file's bytes and size durable (fdatasync).
	Sync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
	Name() string
}

// Usage is the room of a file system in bytes. Free is what an unprivileged writer may still take.
type Usage struct {
	TotalBytes uint64
	FreeBytes  uint64
}
