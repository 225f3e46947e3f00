package shell

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A link or a device is not replaced by the file, only what is a regular file itself.
func TestSaveLinesReplacesFilesOnly(t *testing.T) {
	dir := t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	if _, err := saveLines(link, strings.NewReader("one\n")); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("over a link: %v", err)
	}
	if to, err := os.Readlink(link); err != nil || to != "/dev/null" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	for _, text := range []string{"one\n", "one\ntwo\n"} {
		if n, err := saveLines(file, strings.NewReader(text)); err != nil || n != strings.Count(text, "\n") {
			t.Errorf("%d, %v", n, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("%v is left, %v", left, err)
	}
}
