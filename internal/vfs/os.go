package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the file system of the operating system. Its files are Descriptors and Uncachers too.
var OS osFS

type osFS struct{}

var _ FS = OS

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	// To open a pipe would wait for who writes to it.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }
func (osFS) Rename(oldName, newName string) error         { return os.Rename(oldName, newName) }
func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

func (osFS) SyncDir(name string) error {
	dir, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
}

func (osFS) Usage(name string) (Usage, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(name, &st) }); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	block := uint64(st.Bsize)
	return Usage{TotalBytes: st.Blocks * block, FreeBytes: st.Bavail * block}, nil
}

// osFile is an *os.File, whose ReadAt and WriteAt already go on after EINTR and after a short transfer.
type osFile struct{ *os.File }

func (f *osFile) Sync() error {
	if err := control(f.File, syncData); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Uncache(offset, length int64) error {
	if err := control(f.File, func(fd int) error { return uncache(fd, offset, length) }); err != nil {
		return &fs.PathError{Op: "fadvise", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Reopen() (*os.File, error) {
	var private *os.File
	err := control(f.File, func(fd int) (err error) {
		private, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
		return err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		return private, err
	}
	// There is no /proc here: go by the name, provided that it still leads to the same file.
	if private, err = os.Open(f.Name()); err != nil {
		return nil, err
	}
	mine, err := f.Stat()
	theirs, err2 := private.Stat()
	if err = errors.Join(err, err2); err == nil && !os.SameFile(mine, theirs) {
		err = &fs.PathError{Op: "reopen", Path: f.Name(), Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, errors.Join(err, private.Close())
	}
	return private, nil
}

// control calls fn with f's descriptor, which cannot be closed meanwhile, until EINTR stays away. A closed
// file is fs.ErrClosed.
func control(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = conn.Control(func(fd uintptr) {
		result = retry(func() error { return fn(int(fd)) })
	})
	if err != nil { // the one cause, which package os keeps to itself here
		return fs.ErrClosed
	}
	return result
}

func retry(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
