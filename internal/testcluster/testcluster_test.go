package testcluster_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	_ "weed/cmd" // a change of a server makes go test run these tests again
	"weed/internal/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m) }

// TestProcesses kills, stops and starts servers, and finds none left behind a test.
func TestProcesses(t *testing.T) {
	t.Parallel()
	var pids []int
	t.Run("cluster", func(t *testing.T) {
		c := testcluster.New(t)
		m := c.StartMaster()
		v := c.StartVolume("-max=3")
		c.WaitWritable()
		pids = []int{m.PID(), v.PID()}
		v.Kill()
		if code := v.Wait(); code != -1 {
			t.Errorf("exit code %d of a killed process", code)
		}
		if a := testcluster.Do(http.MethodGet, v.URL("/healthz"), ""); a.Status != 0 {
			t.Errorf("a killed server answers: %v", a.Err())
		}
		v.Restart("-max=4")
		pids = append(pids, v.PID())
		if _, now, ok := v.MemoryBytes(); ok && now <= 0 {
			t.Errorf("a running process has %d bytes of memory", now)
		}
		if code := m.Term(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		for _, want := range []string{"--- restart ---", "volume server listens"} {
			if !strings.Contains(v.Log(), want) {
				t.Errorf("no %q in the log:\n%s", want, v.Log())
			}
		}
	})
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}
