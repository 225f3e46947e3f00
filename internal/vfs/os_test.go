package vfs_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"weed/internal/vfs"
)

func TestReopen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f := create(t, vfs.OS, name, "first")
	if err := os.Rename(name, name+".moved"); err != nil {
		t.Fatal(err)
	}
	create(t, vfs.OS, name, "second")

	d := f.(vfs.Descriptor)
	one, err := d.Reopen()
	must(t, err)
	two, err := d.Reopen()
	must(t, err)
	for _, private := range []*os.File{one, two} { // each has an offset of its own
		b, err := io.ReadAll(private)
		must(t, err)
		if string(b) != "first" {
			t.Fatalf("reopened file reads %q", b)
		}
		if _, err := private.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("the private descriptor can write")
		}
	}
	must(t, errors.Join(one.Close(), two.Close(), f.Close()))
	_, err = d.Reopen()
	mustBe(t, err, fs.ErrClosed)
}

// Nobody waits for who writes to a pipe that is named like a file.
func TestOpenPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	must(t, syscall.Mkfifo(name, 0o600))
	for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE} {
		_, err := vfs.OS.OpenFile(name, flag, 0o600)
		mustBe(t, err, vfs.ErrNotRegular)
	}
}
