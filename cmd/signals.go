package cmd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/golang/glog"
)

// signalError is the cause of a context that a signal has cancelled.
type signalError struct{ signal os.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("stopped by signal: %v", e.signal) }

// exitCode is what a shell reports of a process that the signal has killed.
func (e *signalError) exitCode() int {
	if number, ok := e.signal.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitFailure
}

// signalContext returns a context that the first SIGINT or SIGTERM cancels, with a *signalError as the cause;
// a second signal ends the process at once. stop gives the signals back and must be called.
func signalContext(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				cause := &signalError{s}
				if ctx.Err() != nil {
					glog.Warningf("%v, for the second time: exit without waiting for requests", s)
					glog.Flush()
					os.Exit(cause.exitCode())
				}
				glog.Infof("%v: finishing; the next signal ends the process at once", s)
				cancel(cause)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel(nil)
	}
}
