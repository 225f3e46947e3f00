package cmd

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestHeedSignals(t *testing.T) {
	type arrival struct {
		signal os.Signal
		after  time.Duration
	}
	for _, c := range []struct {
		name     string
		arrivals []arrival
		cause    os.Signal // nil: the context goes on
		code     int       // 0: the process goes on
	}{
		{"none", nil, nil, 0},
		{"one", []arrival{{syscall.SIGTERM, 0}}, syscall.SIGTERM, 0},
		{"two", []arrival{{syscall.SIGTERM, 0}, {syscall.SIGTERM, echo}}, syscall.SIGTERM, 143},
		{"two and different", []arrival{{syscall.SIGTERM, 0}, {syscall.SIGINT, 0}}, syscall.SIGTERM, 130},
		{"one that arrives twice", []arrival{{syscall.SIGTERM, 0}, {syscall.SIGTERM, echo - 1}}, syscall.SIGTERM, 0},
		{"one that arrives twice, and a second one", []arrival{{syscall.SIGINT, 0}, {syscall.SIGINT, 1}, {syscall.SIGINT, echo}},
			syscall.SIGINT, 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(context.Background())
				defer cancel(nil)
				signals, code := make(chan os.Signal), 0
				go heedSignals(signals, cancel, func(n int) { code = n })
				for _, a := range c.arrivals {
					<-time.After(a.after)
					signals <- a.signal
				}
				synctest.Wait()
				close(signals)
				synctest.Wait()
				var cause *signalError
				if errors.As(context.Cause(ctx), &cause) != (c.cause != nil) || cause != nil && cause.signal != c.cause {
					t.Errorf("cause %v, want %v", context.Cause(ctx), c.cause)
				}
				if code != c.code {
					t.Errorf("exit code %d, want %d", code, c.code)
				}
			})
		})
	}
}
