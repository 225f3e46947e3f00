package cmd

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

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

// echo is the time within which the first signal may arrive again without being taken for a second one:
// timeout(1) and others send it to the process and to its group.
const echo = 50 * time.Millisecond

// signalContext returns a context that the first SIGINT or SIGTERM cancels, with a *signalError as the cause;
// a second signal ends the process at once. stop gives the signals back and must be called.
func signalContext(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		heedSignals(signals, cancel, os.Exit)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-ended
		cancel(nil)
	}
}

// heedSignals calls cancel for the first signal and exit for the second, until signals is closed.
func heedSignals(signals <-chan os.Signal, cancel context.CancelCauseFunc, exit func(code int)) {
	first, ok := <-signals
	if !ok {
		return
	}
	at := time.Now()
	glog.Infof("%v: finishing; the next signal ends the process at once", first)
	cancel(&signalError{first})
	for s := range signals {
		if s == first && time.Since(at) < echo {
			continue
		}
		glog.Warningf("%v, the second signal: exit without waiting for requests", s)
		glog.Flush()
		exit((&signalError{s}).exitCode())
	}
}
