package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"weed/internal/vfs"
)

// A volume's files are replaced as one. The new ones are made beside the old ones under names with a suffix, durably; a
// file that tells the suffix appears; the new files get the names of the old ones; that file goes. From when it is there
// whoever opens the volume renames what is left to be renamed. So after a crash there are the old files or the new ones.
// All of it happens in one directory: of a rename between two a crash may undo a half.

// swapExtension is that of the file that says that a swap is under way.
const swapExtension = ".swap"

// partialSuffix is that of files that are to take the place of a volume's: of a log that a Mirror has not copied to its end.
const partialSuffix = ".backup"

// swappedExtensions are those of the files that a swap replaces, all of which must be there.
var swappedExtensions = []string{".dat", ".idx", ".meta"}

// suffixFS is a file system in which all files have a suffix behind their names; directories have not.
type suffixFS struct {
	vfs.FS
	suffix string
}

func (s suffixFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	return s.FS.OpenFile(name+s.suffix, flag, perm)
}

func (s suffixFS) Stat(name string) (fs.FileInfo, error) { return s.FS.Stat(name + s.suffix) }
func (s suffixFS) Remove(name string) error              { return s.FS.Remove(name + s.suffix) }
func (s suffixFS) Rename(oldName, newName string) error {
	return s.FS.Rename(oldName+s.suffix, newName+s.suffix)
}

// swapIn replaces the files of a volume by those with a suffix, whose bytes are durable.
func swapIn(fsys vfs.FS, base, suffix string) error {
	for _, ext := range swappedExtensions {
		if _, err := fsys.Stat(base + ext + suffix); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(path.Dir(base)); err != nil {
		return err
	}
	if err := writeFileAtomic(fsys, base+swapExtension, []byte(suffix+"\n")); err != nil {
		return err
	}
	return finishSwap(fsys, base)
}

// finishSwap completes a swap of a volume's files if one is under way.
func finishSwap(fsys vfs.FS, base string) error {
	suffix, err := readSwap(fsys, base+swapExtension)
	if err != nil || suffix == "" {
		return err
	}
	for _, ext := range swappedExtensions {
		if err := ignoreMissing(fsys.Rename(base+ext+suffix, base+ext)); err != nil {
			return err
		}
	}
	if err := fsys.SyncDir(path.Dir(base)); err != nil {
		return err
	}
	if err := ignoreMissing(fsys.Remove(base + ".sum")); err != nil { // it is about the old ones
		return err
	}
	if err := fsys.Remove(base + swapExtension); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(base))
}

// readSwap returns the suffix that a file tells, "" if there is none.
func readSwap(fsys vfs.FS, name string) (suffix string, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", ignoreMissing(err)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 256))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	suffix, ended := strings.CutSuffix(string(text), "\n")
	if !ended || suffix != partialSuffix {
		return "", &CorruptError{name, 0, "it does not say which files are to take the volume's place"}
	}
	return suffix, nil
}

// dropStaged removes files with a suffix that are not to take a volume's place after all.
func dropStaged(fsys vfs.FS, base, suffix string) error {
	for _, ext := range append([]string{".dat"}, sideExtensions...) {
		if err := ignoreMissing(fsys.Remove(base + ext + suffix)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
