package cmd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/golang/glog"
	"github.com/spf13/pflag"
)

// logFlags are glog's flags that weed takes, with the help that it gives for them. glog keeps them in
// flag.CommandLine, which is never parsed itself.
var logFlags = []struct{ name, kind, usage string }{
	{"v", "int", "Say more: `level` 1 adds what helps to find a fault, such as broken connections and the steps of Raft, " +
		"5 everything."},
	{"vmodule", "string", "Say more in single source files: a comma list of `file=level`, such as volume=4,raft*=2."},
	{"logtostderr", "bool", "Log to stderr and not to files; the default unless -log_dir is given."},
	{"alsologtostderr", "bool", "Log to stderr as well as to files."},
	{"stderrthreshold", "severity", "When logging to files, messages from this `severity` on (INFO, WARNING, ERROR) go " +
		"to stderr too."},
	{"log_dir", "string", "Log to files in this `directory`, which is created, instead of to stderr."},
	{"log_backtrace_at", "string", "Log a stack trace with every message of `file:line`, such as volume.go:123."},
}

func addLogFlags(flags *pflag.FlagSet) {
	for _, f := range logFlags {
		original := flag.Lookup(f.name)
		added := flags.VarPF(logFlag{original.Value, f.kind}, f.name, "", f.usage)
		switch f.kind {
		case "bool":
			added.DefValue = "" // it depends on -log_dir
		case "severity":
			added.DefValue = "ERROR" // glog names it by its number
		}
	}
}

// logFlag is a flag of glog's as a pflag.Value.
type logFlag struct {
	flag.Value
	kind string
}

func (f logFlag) Type() string { return f.kind }

// startLogging settles where logs go once the flags are parsed: to stderr, unless -log_dir names a directory.
func startLogging(flags *pflag.FlagSet) error {
	dir := flags.Lookup("log_dir").Value.String()
	if dir != "" {
		if err := checkLogDir(dir); err != nil {
			return fmt.Errorf("-log_dir: %w", err)
		}
	}
	if flags.Changed("logtostderr") {
		return nil
	}
	return flag.Set("logtostderr", fmt.Sprint(dir == ""))
}

// checkLogDir creates dir and makes sure of write access: glog would quietly take the directory for
// temporary files instead.
func checkLogDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	_ = probe.Close() // empty
	return os.Remove(probe.Name())
}

// newLogger returns the logger that is handed to servers and tools. It writes through glog:
//
//	slog.LevelError, LevelWarn, LevelInfo   Error, Warning, Info
//	slog.LevelDebug                         V(1)
//	slog.LevelDebug-n                       V(1+n)
//
// Lines carry the file and line of the slog call, which is also what -vmodule and -log_backtrace_at go by.
// Call it after startLogging.
func newLogger() *slog.Logger {
	line := new(lineBuffer)
	return slog.New(&glogHandler{
		line:     line,
		attrs:    slog.NewTextHandler(&line.Buffer, nil),
		byModule: flag.Lookup("vmodule").Value.String() != "",
	})
}

type glogHandler struct {
	line     *lineBuffer  // shared by all handlers derived from one
	attrs    slog.Handler // writes to line
	byModule bool         // whether -vmodule is in use
}

type lineBuffer struct {
	mu sync.Mutex // guards Buffer
	bytes.Buffer
}

// emptyRecord is what a slog.TextHandler makes of a record without time, message and attributes.
const emptyRecord = `level=INFO msg=""`

// Enabled implements slog.Handler.
func (h *glogHandler) Enabled(_ context.Context, level slog.Level) bool {
	if level >= slog.LevelInfo {
		return true
	}
	v := glog.Level(1 + max(0, slog.LevelDebug-level))
	if !h.byModule {
		return bool(glog.V(v))
	}
	return bool(glog.VDepth(depthOfSlogCaller(), v))
}

// Handle implements slog.Handler.
func (h *glogHandler) Handle(ctx context.Context, record slog.Record) error {
	text, err := h.format(ctx, record)
	depth := depthOf(record.PC)
	switch {
	case record.Level >= slog.LevelError:
		glog.ErrorDepth(depth, text)
	case record.Level >= slog.LevelWarn:
		glog.WarningDepth(depth, text)
	default:
		glog.InfoDepth(depth, text)
	}
	return err
}

// format returns the message followed by the attributes as key=value.
func (h *glogHandler) format(ctx context.Context, record slog.Record) (string, error) {
	message := record.Message
	record.Message, record.Level, record.Time = "", slog.LevelInfo, time.Time{}
	h.line.mu.Lock()
	defer h.line.mu.Unlock()
	h.line.Reset()
	err := h.attrs.Handle(ctx, record)
	return message + strings.TrimPrefix(strings.TrimSuffix(h.line.String(), "\n"), emptyRecord), err
}

// WithAttrs implements slog.Handler.
func (h *glogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &glogHandler{line: h.line, attrs: h.attrs.WithAttrs(attrs), byModule: h.byModule}
}

// WithGroup implements slog.Handler.
func (h *glogHandler) WithGroup(name string) slog.Handler {
	return &glogHandler{line: h.line, attrs: h.attrs.WithGroup(name), byModule: h.byModule}
}

// depthOf returns how many frames above its caller the frame with return address pc is, 0 if it is not on
// this stack.
func depthOf(pc uintptr) int {
	var pcs [32]uintptr
	n := runtime.Callers(2, pcs[:]) // 0 is Callers, 1 is depthOf
	for i, p := range pcs[:n] {
		if p == pc {
			return i
		}
	}
	return 0
}

// depthOfSlogCaller returns how many frames above its caller, which slog has called, the first frame outside
// of slog is.
func depthOfSlogCaller() int {
	var pcs [32]uintptr
	n := runtime.Callers(3, pcs[:]) // 2 is the caller
	frames := runtime.CallersFrames(pcs[:n])
	for depth := 1; ; depth++ {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "log/slog.") || !more {
			return depth
		}
	}
}
