package testcluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// maxLogBytes bounds what is kept and printed of a process's log: its end.
const maxLogBytes = 256 << 10

// Process is one weed, running or ended. Its methods may be called from several goroutines, but for those
// that start it.
type Process struct {
	t    testing.TB
	dir  string
	wrap []string // what is put before weed, see Place
	args []string
	log  tail
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and its log is complete
}

// Start runs weed with args in an empty directory. The process is killed when the test ends, if not before.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return startIn(t, t.TempDir(), nil, args...)
}

func startIn(t testing.TB, dir string, wrap []string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, dir: dir, wrap: wrap, args: args}
	p.run()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("weed %s:\n%s", strings.Join(args, " "), p.Log())
		}
	})
	return p
}

// run starts the process with p.args.
func (p *Process) run() {
	p.t.Helper()
	words := slices.Concat(p.wrap, []string{Binary(p.t)}, p.args)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir, cmd.Stderr, cmd.Stdout, cmd.SysProcAttr = p.dir, &p.log, &p.log, dieWithParent()
	if err := startOnce(cmd); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
}

// starter starts processes on a thread that lives as long as the tests: the death signal of a child is sent
// when the thread that started it ends.
var starter struct {
	once  sync.Once
	calls chan func()
}

func startOnce(cmd *exec.Cmd) error {
	starter.once.Do(func() {
		starter.calls = make(chan func())
		go func() {
			runtime.LockOSThread()
			for call := range starter.calls {
				call()
			}
		}()
	})
	result := make(chan error)
	starter.calls <- func() { result <- cmd.Start() }
	return <-result
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process with SIGKILL, as a power cut of the process alone would, and waits.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Term sends SIGTERM and waits for the exit code.
func (p *Process) Term() int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait()
}

// Signal sends a signal; to a process that has ended that does nothing.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("signal %v: %v", s, err)
	}
}

// Pause lets the process stand still, with its connections open, until Resume.
func (p *Process) Pause() {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	if err := waitStopped(p.PID()); err != nil {
		p.t.Errorf("wait until weed %s stands still: %v", strings.Join(p.args, " "), err)
	}
}

// Resume lets a process that was paused go on.
func (p *Process) Resume() {
	p.t.Helper()
	p.Signal(syscall.SIGCONT)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits until the process has ended by itself and returns its exit code; -1 means by a signal. One that does not end
// fails the test, and says why in its log.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(Patience):
		p.Signal(syscall.SIGQUIT) // its log tells what its goroutines wait for
		select {
		case <-p.done:
		case <-time.After(Patience):
		}
		p.t.Fatalf("weed %s does not end", strings.Join(p.args, " "))
		return 0
	}
}

// Restart starts a process that has ended once more, with more flags behind those that it had.
func (p *Process) Restart(flags ...string) {
	p.t.Helper()
	select {
	case <-p.done:
	default:
		p.t.Fatalf("weed %s still runs", strings.Join(p.args, " "))
	}
	p.args = append(p.args[:len(p.args):len(p.args)], flags...)
	fmt.Fprintf(&p.log, "--- restart ---\n")
	p.run()
}

// Log returns the end of what the process has written to stderr and stdout since it was first started.
func (p *Process) Log() string { return p.log.String() }

// MemoryBytes returns the resident memory of the running process, its peak and what it is now, where the
// system tells.
func (p *Process) MemoryBytes() (peak, now int64, ok bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, false
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(fields[1], 10, 64) // only the lines below are used
		switch fields[0] {
		case "VmHWM:":
			peak = kb << 10
		case "VmRSS:":
			now = kb << 10
		}
	}
	return peak, now, peak > 0
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	if excess := l.text.Len() - maxLogBytes; excess > 0 {
		l.text.Next(excess)
	}
	return len(b), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
