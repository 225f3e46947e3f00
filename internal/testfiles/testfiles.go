// Package testfiles makes the files of tests. It owns no state; a step that fails ends the test.
//
//	path := testfiles.Write(t, filepath.Join(dir, "a.txt"), testfiles.Noise(1<<20))
//	target, victim := testfiles.Trap(t)
package testfiles

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
)

// Write makes a file, and the directories above it, and returns its path.
func Write(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Noise returns so many random bytes.
func Noise(sizeBytes int) []byte {
	b := make([]byte, sizeBytes)
	_, _ = rand.Read(b) // never fails
	return b
}

// Untouched is what the victim of a Trap holds.
const Untouched = "untouched"

// Trap makes a directory to write into, and beside it a file that nobody may write to. A link of the name
// "link" leads from the one to the other.
func Trap(t testing.TB) (target, victim string) {
	t.Helper()
	dir := t.TempDir()
	victim = Write(t, filepath.Join(dir, "victim"), []byte(Untouched))
	target = filepath.Join(dir, "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(target, "link")); err != nil {
		t.Fatal(err)
	}
	return target, victim
}

// CheckTrap reports a victim that was written to, or a file that has come beside the directory.
func CheckTrap(t testing.TB, target, victim string) {
	t.Helper()
	if got, err := os.ReadFile(victim); err != nil || string(got) != Untouched {
		t.Errorf("the file outside of the directory holds %q, %v", got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(target)); err != nil || len(entries) != 2 {
		t.Errorf("beside the directory: %v, %v", entries, err)
	}
}
