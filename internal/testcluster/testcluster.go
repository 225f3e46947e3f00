// Package testcluster starts real weed processes for tests: masters, volume servers and both in one, each
// with a port and a data directory of its own, on loopback.
//
// On Linux, as root, they can also be nodes of an isolated network in which a test cuts them off from each other.
//
// It owns the binary (built once per test run), the ports, and every process and network that it starts: whatever
// way a test ends, none is left behind. It refuses to wait blindly: WaitFor polls a condition and fails the test
// with what was missing. It knows nothing of the servers' insides; tests look at them as clients and
// operators do. When a test fails, the logs of its processes are printed.
//
// In use:
//
//	func TestMain(m *testing.M) { testcluster.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c := testcluster.New(t)
//		c.StartMaster("-volumeSizeLimitMB=64")
//		v := c.StartVolume("-fsync=never", "-max=20")
//		c.WaitWritable()
//		v.Kill()
//		v.Restart()
//	}
package testcluster

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weed/internal/freeport"
)

// Patience is how long a test waits for something that should be there at once, on a busy machine.
const Patience = 60 * time.Second

// pollEvery is how often WaitFor looks.
const pollEvery = 10 * time.Millisecond

var binary struct {
	dir  string // set by Main
	once sync.Once
	path string
	err  error
}

// Main runs the tests of a package that starts processes, and removes the binary afterwards. It does not
// return.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "weed-testcluster-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary.dir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// Binary returns the path of weed, which the first call builds from the source under test.
func Binary(t testing.TB) string {
	t.Helper()
	if binary.dir == "" {
		t.Fatal("the package's TestMain does not call testcluster.Main")
	}
	binary.once.Do(func() {
		binary.path = filepath.Join(binary.dir, "weed")
		if out, err := exec.Command("go", "build", "-o", binary.path, "weed/cmd/weed").CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("build weed: %w\n%s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// WaitFor polls until condition returns nil, and fails the test with its last error after Patience.
func WaitFor(t testing.TB, what string, condition func() error) {
	t.Helper()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	deadline := time.Now().Add(Patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v: %v", what, Patience, err)
		}
		<-ticker.C
	}
}

// FreeAddr returns a loopback address that nobody listens on; it is the test's own until the test ends, also while
// a server restarts.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return freeport.Addr(t)
}
