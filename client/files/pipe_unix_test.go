//go:build unix

package files

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe to which nobody writes is refused, not waited for.
func TestUploadOfPipe(t *testing.T) {
	_, c := newStore(t)
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Upload(bg, c, UploadConfig{Files: []string{path}})
	if err == nil || len(got) != 1 || !strings.Contains(got[0].Error, "not a regular file") {
		t.Errorf("got %+v, %v", got, err)
	}
}
