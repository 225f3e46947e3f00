package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	cmd  *exec.Cmd
	addr string // host:port
	log  string
	done chan struct{}
}

// start runs a server and waits until it accepts connections at addr.
func (b *bench) start(addr, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(b.ctx, name, args...), addr: addr, done: make(chan struct{})}
	p.log = filepath.Join(b.dir, fmt.Sprintf("log-%d", len(b.children)))
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // the child has its own descriptor
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	b.children = append(b.children, p)
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its end is what counts
	}()
	return p, b.wait(func() error {
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log)
			return permanent{fmt.Errorf("%s ended: %s", name, text)}
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

// stop ends a process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	<-p.done
}

func (b *bench) stopAll() {
	for i := len(b.children) - 1; i >= 0; i-- {
		b.children[i].stop()
	}
	b.children = nil
}

// permanent is an error that waiting can't mend.
type permanent struct{ error }

// wait repeats try until it succeeds, for ten seconds.
func (b *bench) wait(try func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := try()
		var p permanent
		if err == nil || errors.As(err, &p) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// cpu returns the user and system time that a process, all its threads together, has used.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = time.Second / 100 // USER_HZ is 100 on every Linux architecture that Go runs on
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// peakMemory returns the highest resident set of a process in bytes.
func (p *process) peakMemory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}

// freeAddr returns a loopback address that nobody listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// store is a master and a volume server.
type store struct {
	master, volume *process
}

// startStore runs an empty store with the given sync policy.
func (b *bench) startStore(fsync string) (*store, error) {
	dir, err := os.MkdirTemp(b.dir, "store-")
	if err != nil {
		return nil, err
	}
	masterAddr, err1 := freeAddr()
	volumeAddr, err2 := freeAddr()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	s := &store{}
	if s.master, err = b.start(masterAddr, b.weed, "master", "-port="+port(masterAddr), "-mdir="+filepath.Join(dir, "m")); err != nil {
		return nil, err
	}
	if s.volume, err = b.start(volumeAddr, b.weed, "volume", "-port="+port(volumeAddr), "-dir="+filepath.Join(dir, "v"),
		"-mserver="+masterAddr, "-fsync="+fsync, "-max=100"); err != nil {
		return nil, err
	}
	return s, b.wait(func() error { return getJSON("http://"+volumeAddr+"/readyz", nil) })
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// assign asks for count fids and returns the first one's volume, key and cookie.
func (s *store) assign(count int) (fidRange, error) {
	return s.assignWith(fmt.Sprintf("count=%d", count))
}

// assignWith is assign with the parameters of the request, which may name another number of copies.
func (s *store) assignWith(query string) (fidRange, error) {
	var a struct {
		Fid   string
		Count int
	}
	var r fidRange
	err := getJSON(fmt.Sprintf("http://%s/dir/assign?%s", s.master.addr, query), &a)
	if err != nil {
		return r, err
	}
	volume, rest, ok := strings.Cut(a.Fid, ",")
	if !ok || len(rest) < 9 {
		return r, fmt.Errorf("odd fid %q", a.Fid)
	}
	r.volume, r.cookie, r.count = volume, rest[len(rest)-8:], a.Count
	r.first, err = strconv.ParseUint(rest[:len(rest)-8], 16, 64)
	return r, err
}

// fidRange is a run of assigned fids.
type fidRange struct {
	volume, cookie string
	first          uint64
	count          int
}

func getJSON(url string, into any) error {
	resp, err := http.Get(url) //nolint:gosec,noctx // loopback
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, text)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	return err
}
