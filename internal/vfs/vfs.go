// Package vfs is the seam between the storage engine and the disk.
//
// OS is the real thing. Mem is a disk in memory that can fail its n-th operation and that loses what was
// not synced when it crashes, so that tests can put the engine through every way a disk can let it down.
//
// Durability contract, the same for both: bytes are safe after File.Sync has returned nil; a created,
// renamed or removed name (a directory's too) is safe after FS.SyncDir of its directory has returned nil.
// Paths are slash-separated, relative to the process or absolute; for Mem both start at its root.
//
// A test runs the engine on a disk that fails, pulls the plug, and looks at what is left:
//
//	disk := vfs.NewMem()
//	disk.FailAt(7, syscall.EIO)
//	v, err := storage.Open(disk, "/", cfg)
//	…
//	disk = disk.Crash(vfs.LoseSome, rand.New(rand.NewPCG(seed, 0)))
//	v, err = storage.Open(disk, "/", cfg) // everything acknowledged must be there
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// ErrLocked is the kind of the error of FS.Lock when somebody else holds the lock, in this process or in
// another.
var ErrLocked = errors.New("locked by another process")

// ErrNotRegular is the kind of the error of FS.OpenFile for a pipe, a socket or a device.
var ErrNotRegular = errors.New("not a regular file")

// FS is a file system. Errors are those of package os: they match fs.ErrNotExist, fs.ErrExist,
// fs.ErrPermission, syscall.ENOSPC, syscall.EIO with errors.Is, and name the path.
type FS interface {
	// OpenFile opens the regular file name with the flags of package os (O_RDONLY, O_WRONLY, O_RDWR,
	// O_CREATE, O_EXCL, O_TRUNC). O_APPEND is not supported: callers write at offsets.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// ReadDir lists a directory in name order.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// Rename gives a file a new name and atomically replaces a file that has that name already.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory. A file that is open stays usable until it is closed.
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock on name, creating it if need be, without waiting. Closing the returned
	// value releases it; the file stays. A lock that somebody else holds is ErrLocked.
	Lock(name string) (io.Closer, error)
	// Usage tells how much room the file system that holds name has.
	Usage(name string) (Usage, error)
}

// File is an open file. All methods may be called concurrently. After Close, and for Mem after a crash,
// they fail with fs.ErrClosed.
type File interface {
	io.ReaderAt
	// WriterAt returns with fewer bytes written only together with an error; what it wrote stays.
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the file's bytes and size durable (fdatasync). After a Sync that failed nothing is known
	// about the bytes written since the one before, whatever a later Sync says.
	Sync() error
	// Size returns the file's length in bytes.
	Size() (int64, error)
	// Name returns the path as given to OpenFile.
	Name() string
}

// Descriptor is what files of OS offer besides File, for sendfile.
type Descriptor interface {
	// Reopen returns a private read-only descriptor of the same file, also when its name has since been
	// removed or given to another. It has an offset of its own; the caller closes it.
	Reopen() (*os.File, error)
}

// Uncacher is what files of OS offer besides File, to those who want to know what is on the disk.
type Uncacher interface {
	// Uncache advises the system to drop what it keeps of a range in memory, but for what is not written back yet.
	Uncache(offset, length int64) error
}

// Usage is the room of a file system in bytes. Free is what an unprivileged writer may still take.
type Usage struct {
	TotalBytes uint64
	FreeBytes  uint64
}
