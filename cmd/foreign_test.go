package cmd

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weed/internal/freeport"
	"weed/internal/testfiles"
)

// TestForeignVolumes serves, exports, repairs and compacts volumes as other programs write them: one of version 2, and one
// of version 3 whose index file is in no order, with a .vif that says read-only and without.
func TestForeignVolumes(t *testing.T) {
	dir := t.TempDir()
	for name, golden := range map[string]string{"7": "v2", "pics_9": "foreign", "11": "foreign"} {
		for _, ext := range []string{".dat", ".idx", ".vif"} {
			content, err := os.ReadFile(filepath.Join("..", "storage", "testdata", golden, "7"+ext))
			if err == nil && name+ext != "11.vif" {
				testfiles.Write(t, filepath.Join(dir, name+ext), content)
			}
		}
	}
	list := func(collection, id string) string {
		t.Helper()
		stdout, _ := mustRun(t, exitOK, 0, "export", "-dir", dir, "-collection", collection, "-volumeId", id)
		return stdout
	}
	before := list("", "7") + list("pics", "9")
	if strings.Count(before, "\n") != 2+3+4 || !strings.Contains(before, "\n7,01000000a1\tx\t8\tfalse\t") || !strings.Contains(before, "\n9,04000000c4\t\t0\t") {
		t.Errorf("listed\n%s", before)
	}

	port := freeport.Port(t)
	p := start(t, "server", "-dir", dir, fmt.Sprint("-volume.port=", port), fmt.Sprint("-master.port=", freeport.Port(t)), "-pulseSeconds=1")
	url := fmt.Sprint("http://127.0.0.1:", port, "/")
	for path, want := range map[string]string{"7,01000000a1": "old form", "7,02000000a2": "new form", "7,04000000a4": "",
		"9,01000000c1": "one", "9,02000000c2": "two, again", "9,04000000c4": "", "9,06000000c6": "not in the index"} {
		if got := await(t, http.StatusOK, "GET", url+path, ""); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"7,03000000a3", "9,03000000c3", "9,05000000c5"} {
		await(t, http.StatusNotFound, "GET", url+path, "")
	}
	await(t, http.StatusCreated, "PUT", url+"11,0a637037d6", "added")
	await(t, http.StatusAccepted, "DELETE", url+"11,02000000c2", "")
	await(t, http.StatusServiceUnavailable, "PUT", url+"9,0a637037d6", "its .vif says read-only")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}

	if after := list("", "11"); strings.Count(after, "\n") != 1+4 || strings.Contains(after, "11,02000000c2") || !strings.Contains(after, "11,0a637037d6") {
		t.Errorf("listed\n%s", after)
	}
	for id, collection := range map[string]string{"11": "", "9": "pics"} {
		listed := list(collection, id)
		mustRun(t, exitOK, 0, "fix", "-dir", dir, "-collection", collection, "-volumeId", id)
		if fixed := list(collection, id); fixed != listed {
			t.Errorf("listed after fix\n%s\nbefore\n%s", fixed, listed)
		}
		mustRun(t, exitOK, 0, "compact", "-dir", dir, "-collection", collection, "-volumeId", id)
		if compacted := list(collection, id); strings.Count(compacted, "\n") != strings.Count(listed, "\n") {
			t.Errorf("listed after compact\n%s\nbefore\n%s", compacted, listed)
		}
	}
}
