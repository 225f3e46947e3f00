package shell

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "weed", "shell_history")
	first := NewTerminal(nil)
	defer first.Close()
	if err := first.LoadHistory(path); err != nil {
		t.Fatal("a history that is not there is an empty one:", err)
	}
	first.Remember("volume.list")
	first.Remember("server.list; exit")
	for range 2 { // the second time there is a file to replace
		if err := first.SaveHistory(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	second := NewTerminal(nil)
	defer second.Close()
	if err := second.LoadHistory(path); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	if _, err := second.state.WriteHistory(&lines); err != nil || lines.String() != "volume.list\nserver.list; exit\n" {
		t.Errorf("%q, %v", lines.String(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Error("left behind:", left)
	}
	blocked := filepath.Join(path, "below-a-file")
	if first.SaveHistory(blocked) == nil || first.LoadHistory(blocked) == nil {
		t.Error("no complaint about a file where a directory should be")
	}
}

func TestHistoryFile(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	for state, want := range map[string]string{
		"":         "/home/u/.local/state/weed/shell_history",
		"relative": "/home/u/.local/state/weed/shell_history",
		"/s":       "/s/weed/shell_history",
	} {
		t.Setenv("XDG_STATE_HOME", state)
		if got, err := HistoryFile(); got != want || err != nil {
			t.Errorf("%q: %s, %v", state, got, err)
		}
	}
}
