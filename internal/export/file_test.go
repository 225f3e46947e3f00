package export

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Two that write the same file at once do not mix: what has the name is whole, from one of them.
func TestTwoWriteTheSameFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.tar")
	err := Write(nil, name, func(outer io.Writer) error {
		err := Write(nil, name, func(inner io.Writer) error {
			_, err := io.WriteString(inner, "inner")
			return err
		})
		if got, _ := os.ReadFile(name); string(got) != "inner" {
			t.Errorf("the file holds %q", got)
		}
		_, e := io.WriteString(outer, "the outer")
		return errors.Join(err, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "the outer" {
		t.Errorf("the file holds %q", got)
	}
	broken := errors.New("broken")
	if err := Write(nil, name, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v", left, err)
	}
}
