package testcluster_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// slowPut is an upload that the server has begun to take.
type slowPut struct {
	conn net.Conn
	in   *bufio.Reader
	rest string
}

// beginPut sends the head and half of the body, once the server has agreed to take it.
func beginPut(t *testing.T, addr, fid, body string) *slowPut {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testcluster.Patience))
	p := &slowPut{conn: conn, in: bufio.NewReader(conn), rest: body[len(body)/2:]}
	fmt.Fprintf(conn, "PUT /%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n"+
		"Expect: 100-continue\r\n\r\n", fid, len(body))
	if status := p.status(t); status != http.StatusContinue {
		t.Fatalf("no 100 Continue but %d", status)
	}
	fmt.Fprint(conn, body[:len(body)/2])
	return p
}

func (p *slowPut) end(t *testing.T) int {
	t.Helper()
	fmt.Fprint(p.conn, p.rest)
	return p.status(t)
}

func (p *slowPut) status(t *testing.T) int {
	t.Helper()
	answer, err := http.ReadResponse(p.in, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

const draining = "the next signal ends the process at once"

func waitLog(t *testing.T, p *testcluster.Process, text string) {
	t.Helper()
	testcluster.WaitFor(t, "the log says "+text, func() error {
		if !strings.Contains(p.Log(), text) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
}

// largeBytes is more than a start reads when it needs no scan.
const largeBytes = 4 << 20

// bytesRead returns how much a process has read since it started, where the system tells.
func bytesRead(pid int) (n int64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, false
	}
	_, err = fmt.Sscanf(string(text), "rchar: %d", &n)
	return n, err == nil
}

// TestServerDrains sends SIGTERM to `weed server` in the middle of uploads, some of them at rest half-way.
// All that had begun are answered, all that were answered with success are there after the next start, and
// that start trusts the index files.
func TestServerDrains(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartServer("-v=1")
	c.WaitWritable()

	var begun []*slowPut
	stored := make(map[string]string)
	for i := range 4 { // enough to see whether the next start reads it all
		text := strings.Repeat(fmt.Sprintf("%07d\n", i), largeBytes/8)
		a := testcluster.Do(http.MethodPost, m.URL("/submit"), text, "Content-Type: application/octet-stream")
		stored[a.Field(t, "fid")] = text
	}
	for i := range 8 {
		fid, ok, err := assign(m, 1)
		if !ok {
			t.Fatal("not assigned:", err)
		}
		stored[fid.String()] = strings.Repeat(fmt.Sprint(i, fid), 5000)
		begun = append(begun, beginPut(t, v.Addr, fid.String(), stored[fid.String()]))
	}
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for i := range 8 { // until the server refuses
		wg.Go(func() {
			for n := 0; ; n++ {
				text := fmt.Sprintf("%d/%d", i, n)
				a := testcluster.Do(http.MethodPost, m.URL("/submit"), text, "Content-Type: text/plain")
				if a.Status != http.StatusCreated {
					if a.Status != 0 && a.Status != http.StatusServiceUnavailable {
						t.Errorf("an upload during SIGTERM: %v", a.Err())
					}
					return
				}
				mu.Lock()
				stored[a.Field(t, "fid")] = text
				mu.Unlock()
			}
		})
	}
	testcluster.WaitFor(t, "uploads go on", func() error {
		mu.Lock()
		defer mu.Unlock()
		return atLeast(int64(len(stored)), 200)
	})
	m.Signal(syscall.SIGTERM)
	waitLog(t, m.Process, draining)
	wg.Wait()
	for i, p := range begun {
		if status := p.end(t); status != http.StatusCreated {
			t.Errorf("upload %d, which was under way at SIGTERM, got %d", i, status)
		}
	}
	if code := m.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	scanDir(t, v.Dir)

	m.Restart()
	c.WaitWritable()
	if n, ok := bytesRead(m.PID()); ok && n > largeBytes {
		t.Errorf("the start after a clean stop has read %d bytes", n)
	}
	for fid, text := range stored {
		if a := testcluster.Do(http.MethodGet, v.URL("/"+fid), ""); string(a.Body) != text {
			t.Errorf("%s after the restart: %v", fid, a.Err())
		}
	}
	_, after, _ := strings.Cut(m.Log(), "--- restart ---")
	for _, bad := range []string{"rebuilt", "torn"} {
		if strings.Contains(after, bad) {
			t.Errorf("the start after a clean stop says %q:\n%s", bad, after)
		}
	}
}

// TestSecondSignal finds that a process which waits for an upload ends at once when it is told again.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartServer()
	c.WaitWritable()
	fid, ok, err := assign(m, 1)
	if !ok {
		t.Fatal("not assigned:", err)
	}
	beginPut(t, v.Addr, fid.String(), "never finished")
	m.Signal(syscall.SIGTERM)
	waitLog(t, m.Process, draining)
	testcluster.WaitFor(t, "the process ends", func() error {
		m.Signal(syscall.SIGTERM) // again, because one that follows at once is taken for an echo
		select {
		case <-m.Done():
			return nil
		default:
			return fmt.Errorf("it still runs")
		}
	})
	if code := m.Wait(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d after a second SIGTERM", code)
	}
	m.Restart()
	c.WaitWritable()
	if a := testcluster.Do(http.MethodGet, v.URL("/"+fid.String()), ""); a.Status != http.StatusNotFound {
		t.Errorf("an upload that was cut off: %v", a.Err())
	}
}
