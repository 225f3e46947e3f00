package raftstore

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"

	"github.com/hashicorp/go-hclog"
)

// logBridge lets hashicorp/raft speak through slog. Raft's "info" is about every step of an election, which
// an operator does not want to read: it becomes debug, and debug becomes finer than that.
type logBridge struct {
	to   *slog.Logger
	name string
	args []any
}

var _ hclog.Logger = (*logBridge)(nil)

const levelTrace = slog.LevelDebug - 4

func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelDebug
	default:
		return levelTrace
	}
}

// perAttempt are complaints about single attempts to reach a server that is away, several a second. Raft
// also warns once when it gives a server or its leadership up.
var perAttempt = []string{
	"failed to appendEntries to", "failed to heartbeat to", "failed to make requestVote RPC",
	"failed to decode incoming command", "failed to flush response",
}

func (l *logBridge) Log(level hclog.Level, msg string, args ...any) {
	to := slogLevel(level)
	if to > slog.LevelDebug && slices.Contains(perAttempt, msg) {
		to = slog.LevelDebug
	}
	if !l.to.Enabled(context.Background(), to) {
		return
	}
	all := make([]any, 0, len(args))
	for _, arg := range args {
		// hclog's formatted values are only rendered by its own loggers.
		if f, ok := arg.(hclog.Format); ok && len(f) > 0 {
			arg = formatted(f)
		}
		all = append(all, arg)
	}
	l.to.Log(context.Background(), to, "raft: "+msg, all...)
}

func (l *logBridge) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logBridge) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logBridge) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logBridge) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logBridge) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *logBridge) enabled(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), slogLevel(level))
}

func (l *logBridge) IsTrace() bool { return l.enabled(hclog.Trace) }
func (l *logBridge) IsDebug() bool { return l.enabled(hclog.Debug) }
func (l *logBridge) IsInfo() bool  { return l.enabled(hclog.Info) }
func (l *logBridge) IsWarn() bool  { return l.enabled(hclog.Warn) }
func (l *logBridge) IsError() bool { return l.enabled(hclog.Error) }

func (l *logBridge) ImpliedArgs() []any { return l.args }
func (l *logBridge) Name() string       { return l.name }

func (l *logBridge) With(args ...any) hclog.Logger {
	return &logBridge{to: l.to.With(args...), name: l.name, args: append(slices.Clip(l.args), args...)}
}

// Named and ResetNamed change nothing in what is printed: every line already says "raft".
func (l *logBridge) Named(name string) hclog.Logger      { return l.ResetNamed(name) }
func (l *logBridge) ResetNamed(name string) hclog.Logger { c := *l; c.name = name; return &c }

// SetLevel does nothing: the slog handler decides.
func (l *logBridge) SetLevel(hclog.Level) {}

func (l *logBridge) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Info, hclog.Warn, hclog.Error} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *logBridge) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelWarn)
}

func (l *logBridge) StandardWriter(opts *hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(opts).Writer()
}

func formatted(f hclog.Format) string {
	if layout, ok := f[0].(string); ok {
		return fmt.Sprintf(layout, f[1:]...)
	}
	return fmt.Sprint(f...)
}
