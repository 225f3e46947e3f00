package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// Offline is one volume of a directory that no server has open, and that none can open until Close. Tools work on it.
type Offline struct {
	fs         vfs.FS
	dir        string
	id         blob.VolumeID
	collection string
	cfg        Config
	lock       io.Closer
}

// LockOffline takes a directory, which must be there, for work on one of its volumes. Errors: ErrInUse if a process has
// it open, ErrNoVolume, which names what is there instead.
func LockOffline(fsys vfs.FS, dir, collection string, id blob.VolumeID, cfg Config) (*Offline, error) {
	if err := blob.CheckCollection(collection); err != nil {
		return nil, err
	}
	o := &Offline{fs: fsys, dir: path.Clean(dir), id: id, collection: collection, cfg: cfg.withDefaults()}
	var err error
	if o.lock, err = lockDirectory(fsys, o.dir); err != nil {
		return nil, err
	}
	if err := finishSwap(fsys, o.base()); err != nil {
		return nil, errors.Join(fmt.Errorf("replace the files of volume %s: %w", o.base(), err), o.lock.Close())
	}
	if _, err := fsys.Stat(o.base() + ".dat"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = o.missing()
		}
		return nil, errors.Join(err, o.lock.Close())
	}
	return o, nil
}

// lockDirectory locks a directory that is there.
func lockDirectory(fsys vfs.FS, dir string) (io.Closer, error) {
	if info, err := fsys.Stat(dir); err != nil {
		return nil, fmt.Errorf("directory %s can't be read: %w", dir, err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory", dir)
	}
	lock, err := fsys.Lock(path.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("directory %s: %w", dir, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("directory %s can't be locked: %w", dir, err)
	}
	return lock, nil
}

// missing says that the volume is not there, and under which collection it is.
func (o *Offline) missing() error {
	hint := ""
	entries, err := o.fs.ReadDir(o.dir)
	for _, e := range entries {
		name, isDat := strings.CutSuffix(e.Name(), ".dat")
		if collection, id, err := blob.ParseVolumeFileName(name); isDat && err == nil && id == o.id {
			hint = fmt.Sprintf("; there is one of collection %q", collection)
		}
	}
	return errors.Join(fmt.Errorf("%s.dat: %w%s", o.base(), ErrNoVolume, hint), err)
}

func (o *Offline) base() string { return path.Join(o.dir, blob.VolumeFileName(o.collection, o.id)) }

// Open opens the volume as a server does, but changes nothing on the disk: a torn tail is not cut, the index file not
// completed, and nothing can be put. The caller closes the volume before the Offline.
func (o *Offline) Open() (*Volume, error) {
	return openVolume(readOnlyFS{o.fs}, o.dir, o.id, o.collection, o.cfg)
}

// Close gives the directory back.
func (o *Offline) Close() error { return o.lock.Close() }

// readOnlyFS lets nothing change: files open for reading only, and an index file that is not there is empty.
type readOnlyFS struct{ vfs.FS }

func (f readOnlyFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag == os.O_RDONLY {
		file, err := f.FS.OpenFile(name, flag, perm)
		if errors.Is(err, fs.ErrNotExist) && path.Ext(name) == ".idx" {
			return emptyFile(name), nil
		}
		return file, err
	}
	if _, err := f.Stat(name); err != nil && path.Ext(name) != ".idx" {
		return nil, err
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

func (readOnlyFS) Rename(oldName, _ string) error { return readOnlyError("rename", oldName) }
func (readOnlyFS) Remove(name string) error       { return readOnlyError("remove", name) }
func (readOnlyFS) SyncDir(string) error           { return nil }
func (readOnlyFS) MkdirAll(name string, _ fs.FileMode) error {
	return readOnlyError("mkdir", name)
}

func readOnlyError(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: syscall.EROFS}
}

// emptyFile is a file of that name without content.
type emptyFile string

func (emptyFile) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }
func (e emptyFile) WriteAt([]byte, int64) (int, error) {
	return 0, readOnlyError("write", string(e))
}
func (e emptyFile) Truncate(int64) error { return readOnlyError("truncate", string(e)) }
func (emptyFile) Close() error           { return nil }
func (emptyFile) Sync() error            { return nil }
func (emptyFile) Size() (int64, error)   { return 0, nil }
func (e emptyFile) Name() string         { return string(e) }
