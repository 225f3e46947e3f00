package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	f := profileFlags{cpu: filepath.Join(dir, "cpu"), memory: filepath.Join(dir, "mem")}
	stop, err := f.start()
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{f.cpu, f.memory} {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // profiles are gzip streams
			t.Errorf("%s: %d bytes that are no profile, error %v", name, len(b), err)
		}
	}
}

func TestProfileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing", "file")
	for _, c := range []struct {
		flags profileFlags
		want  string
	}{
		{profileFlags{cpu: missing}, "-cpuprofile: "},
		{profileFlags{cpu: filepath.Join(dir, "cpu"), memory: missing}, "-memprofile: "},
	} {
		stop, err := c.flags.start()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("error %v, want %s", err, c.want)
		}
		if err := stop(); err != nil { // the CPU profile must not stay on for the next test
			t.Error(err)
		}
	}
}
