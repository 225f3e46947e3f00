package testcluster_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// checkMemory wants the peak of a process's resident memory below a bound.
func checkMemory(t *testing.T, p *testcluster.Process, bound int64) {
	t.Helper()
	peak, now, ok := p.MemoryBytes()
	if !ok {
		t.Log("this system does not tell the memory of a process")
		return
	}
	t.Logf("resident memory: peak %d MiB, now %d MiB", peak>>20, now>>20)
	if peak > bound {
		t.Errorf("the peak is above %d MiB", bound>>20)
	}
}

// TestSlowClients opens 2,000 connections that send next to nothing, to a volume server and to a master. All
// are closed, honest clients are served meanwhile, and memory stays bounded.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const (
		clients     = 2000
		memoryBound = 200 << 20
	)
	c := testcluster.New(t)
	m := c.StartMaster("-idleTimeout=3")
	v := c.StartVolume("-idleTimeout=3", "-fileSizeLimitMB=1", "-concurrentUploadLimitMB=16")
	c.WaitWritable()
	a := submit(t, m.URL("/submit"), "there.txt", "still there")
	fid := a.Field(t, "fid")

	openings := []string{
		"", // says nothing
		"G",
		"GET /" + fid + " HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", // keeps the connection after an answer
		"PUT /" + fid + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegun",
		"POST /" + fid + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
	}
	var (
		open atomic.Int64
		wg   sync.WaitGroup
	)
	for i := range clients {
		addr := v.Addr
		if i%4 == 3 {
			addr = m.Addr
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		open.Add(1)
		wg.Go(func() {
			defer open.Add(-1)
			_ = conn.SetDeadline(time.Now().Add(testcluster.Patience))
			_, _ = io.WriteString(conn, openings[i%len(openings)])
			if i%10 == 0 { // one byte at a time, for ever
				trickle(conn)
			}
			_, err := io.Copy(io.Discard, conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("connection %d, which said %.50q, is still open", i, openings[i%len(openings)])
			}
		})
	}
	served := 0
	testcluster.WaitFor(t, "the slow connections are closed", func() error {
		expect(t, http.StatusOK, "still there", http.MethodGet, v.URL("/"+fid), "")
		expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/dir/assign"), "")
		served++
		if n := open.Load(); n > 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	wg.Wait()
	t.Logf("%d requests were served meanwhile", 2*served)
	expect(t, http.StatusOK, "still there", http.MethodGet, v.URL("/"+fid), "")
	checkMemory(t, v.Process, memoryBound)
	checkMemory(t, m.Process, memoryBound)
}

// trickle writes a byte now and then until the other side closes.
func trickle(conn net.Conn) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := conn.Write([]byte("x")); err != nil {
			return
		}
	}
}

// TestManyUploads sends 200 uploads of 1 MiB at once to a server that has memory for 64: each is taken or
// told to come again, and memory stays bounded. Then uploads at rest hold all the room, until they end.
func TestManyUploads(t *testing.T) {
	t.Parallel()
	const (
		uploads     = 200
		limitMB     = 64
		memoryBound = 4 * limitMB << 20
	)
	c := testcluster.New(t)
	m := c.StartMaster()
	v := c.StartVolume("-fsync=never", fmt.Sprint("-concurrentUploadLimitMB=", limitMB), "-fileSizeLimitMB=16", "-idleTimeout=60")
	c.WaitWritable()
	first, ok, err := assign(m, 2*uploads+limitMB)
	if !ok {
		t.Fatal("not assigned:", err)
	}
	url := func(i int) string { return v.URL(fmt.Sprintf("/%v_%d", first, i)) }
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	body := func(i int) string { return fmt.Sprintf("%08d", i) + string(noise[8:]) }

	// burst uploads and counts what was taken and what was sent away.
	burst := func(from int) (taken, busy int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := from; i < from+uploads; i++ {
			wg.Go(func() {
				a := testcluster.Do(http.MethodPut, url(i), body(i), "Content-Type: application/octet-stream")
				mu.Lock()
				defer mu.Unlock()
				switch a.Status {
				case http.StatusCreated:
					taken++
				case http.StatusTooManyRequests:
					busy++
					if a.Header.Get("Retry-After") == "" {
						t.Error("429 without Retry-After")
					}
				default:
					t.Errorf("upload %d: %v", i, a.Err())
				}
			})
		}
		wg.Wait()
		for i := from; i < from+uploads; i++ {
			a := testcluster.Do(http.MethodGet, url(i), "")
			if a.Status == http.StatusOK && string(a.Body) != body(i) {
				t.Errorf("upload %d is not what was sent", i)
			}
			if a.Status == http.StatusOK {
				taken--
			}
		}
		return taken, busy // taken: how many can't be read
	}
	missing, busy := burst(1)
	if missing != 0 {
		t.Errorf("%d uploads were taken that are not there", missing)
	}
	t.Logf("%d of %d uploads were sent away", busy, uploads)

	var resting []*slowPut
	for i := range limitMB { // nearly all of each body, so that it holds its room
		p := beginPut(t, v.Addr, fmt.Sprintf("%v_%d", first, 2*uploads+i), strings.Repeat("r", 1<<20))
		fmt.Fprint(p.conn, p.rest[:len(p.rest)-1])
		p.rest = p.rest[len(p.rest)-1:]
		resting = append(resting, p)
	}
	missing, busy = burst(1 + uploads)
	if missing != 0 || busy == 0 {
		t.Errorf("with %d uploads at rest, %d of %d were sent away; %d are missing", limitMB, busy, uploads, missing)
	}
	done := 0
	for _, p := range resting {
		if status := p.end(t); status == http.StatusCreated {
			done++
		} else if status != http.StatusTooManyRequests {
			t.Errorf("an upload that had rested got %d", status)
		}
	}
	if done == 0 {
		t.Error("no upload that had rested was taken in the end")
	}
	expect(t, http.StatusCreated, "*", http.MethodPut, url(1), body(1))
	checkMemory(t, v.Process, memoryBound)
}
