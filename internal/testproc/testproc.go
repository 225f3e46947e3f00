// Package testproc runs servers that are not ours for tests: redis-server, java.
//
// It owns what makes a child safe to have in a test: on Linux it dies with the test binary, however that ends, and it
// can stand still and go on.
//
//	p, err := testproc.Start(exec.Command("redis-server"))
//	defer p.Kill()
package testproc

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Process is a running or ended child. Its methods are for one goroutine at a time.
type Process struct {
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	ended error         // how, once done is closed
}

// Start starts cmd, whose SysProcAttr is replaced.
func Start(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = dieWithParent()
	if err := onStarter(cmd.Start); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.ended = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the process ended; it may be called once Done is closed.
func (p *Process) Err() error { return p.ended }

// AwaitListening waits until the process, or what it has started, accepts connections at an address. The error says that
// it has ended, or that it took longer than within.
func (p *Process) AwaitListening(addr string, within time.Duration) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-poll.C:
		case <-p.Done():
			return fmt.Errorf("%s has ended while it started: %w", p.cmd.Path, cmp.Or(p.Err(), errors.New("by itself")))
		case <-deadline.C:
			return fmt.Errorf("%s does not listen at %s after %v", p.cmd.Path, addr, within)
		}
	}
}

// Kill ends the process with SIGKILL and waits. It does nothing to a nil process.
func (p *Process) Kill() {
	if p != nil {
		_ = p.cmd.Process.Kill() // an error says that it has ended
		<-p.done
	}
}

// Pause lets the process stand still, with its connections open, and waits until all of it does.
func (p *Process) Pause() error { return pause(p.cmd.Process) }

// Resume lets a process that was paused go on.
func (p *Process) Resume() error { return resume(p.cmd.Process) }

// starter runs functions on a thread that lives as long as the tests: the death signal of a child is sent when the
// thread that started it ends.
var starter struct {
	once  sync.Once
	calls chan func()
}

func onStarter(f func() error) error {
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
	starter.calls <- func() { result <- f() }
	return <-result
}
