package cmd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang/glog"
)

// logged returns what say logs to stderr under the given glog flags (name=value).
func logged(t *testing.T, say func(*slog.Logger), settings ...string) string {
	t.Helper()
	setLogFlags(t, append([]string{"logtostderr=true"}, settings...)...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = stderr }()
	text := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		text <- b
	}()
	say(newLogger())
	glog.Flush()
	w.Close()
	return string(<-text)
}

// setLogFlags sets glog's flags for one test.
func setLogFlags(t *testing.T, settings ...string) {
	t.Helper()
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := flag.Set(name, old); err != nil {
				t.Error(err)
			}
		})
	}
}

// here returns the file:line of its caller, offset lines on.
func here(offset int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", filepath.Base(file), line+offset)
}

var linePattern = regexp.MustCompile(`^([IWE])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ (\S+:\d+)\] (.*)$`)

func TestLoggerLines(t *testing.T) {
	for _, c := range []struct {
		name string
		say  func(*slog.Logger) (where string)
		want string
	}{
		{"info", func(l *slog.Logger) string {
			l.Info("volume server listens", "address", "127.0.0.1:8080", "volumes", 3)
			return here(-1)
		}, "I volume server listens address=127.0.0.1:8080 volumes=3"},
		{"warn", func(l *slog.Logger) string { l.Warn("disk low"); return here(0) }, "W disk low"},
		{"error", func(l *slog.Logger) string {
			l.Error("write", "err", io.ErrUnexpectedEOF)
			return here(-1)
		}, `E write err="unexpected EOF"`},
		{"attributes and groups", func(l *slog.Logger) string {
			l = l.With("server", "volume").WithGroup("disk").With("dir", "a b")
			l.Info("full", "free", "1%", "level", 7, "time", time.Second)
			return here(-1)
		}, `I full server=volume disk.dir="a b" disk.free=1% disk.level=7 disk.time=1s`},
		{"a newline cannot forge a line", func(l *slog.Logger) string {
			l.Info("got", "path", "x\nI0101 forged")
			return here(-1)
		}, `I got path="x\nI0101 forged"`},
		{"through the default logger's indirections", func(l *slog.Logger) string {
			l.LogAttrs(context.Background(), slog.LevelInfo, "attrs", slog.Int("n", 1))
			return here(-1)
		}, "I attrs n=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var where string
			got := logged(t, func(l *slog.Logger) { where = c.say(l) })
			m := linePattern.FindStringSubmatch(strings.TrimSuffix(got, "\n"))
			if m == nil || m[1]+" "+m[3] != c.want || m[2] != where {
				t.Errorf("got %q; want %q at %s", got, c.want, where)
			}
		})
	}
}

func TestLoggerVerbosity(t *testing.T) {
	say := func(l *slog.Logger) {
		for n := range 4 {
			l.Log(context.Background(), slog.LevelDebug-slog.Level(n), fmt.Sprintf("debug %d", n+1))
		}
		if l.Enabled(context.Background(), slog.LevelDebug-2) {
			l.Info("enabled 3")
		}
	}
	for _, c := range []struct {
		settings []string
		want     string
	}{
		{nil, ""},
		{[]string{"v=1"}, "debug 1"},
		{[]string{"v=2"}, "debug 1,debug 2"},
		{[]string{"v=3"}, "debug 1,debug 2,debug 3,enabled 3"},
		{[]string{"v=9"}, "debug 1,debug 2,debug 3,debug 4,enabled 3"},
		{[]string{"vmodule=logging_test=3"}, "debug 1,debug 2,debug 3,enabled 3"},
		{[]string{"vmodule=logging_*=2"}, "debug 1,debug 2"},
		{[]string{"vmodule=logging=9"}, ""}, // the handler's file is not the caller's
		{[]string{"v=1", "vmodule=other=4"}, "debug 1"},
		{[]string{"v=4", "vmodule=logging_test=0"}, ""},
	} {
		var got []string
		for line := range strings.Lines(logged(t, say, append([]string{"v=0", "vmodule="}, c.settings...)...)) {
			_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "] ")
			got = append(got, text)
		}
		if text := strings.Join(got, ","); text != c.want {
			t.Errorf("%v: %q, want %q", c.settings, text, c.want)
		}
	}
}

func TestLogBacktrace(t *testing.T) {
	where := here(1)
	say := func(l *slog.Logger) { l.Info("here") }
	if got := logged(t, say, "log_backtrace_at="+where); !strings.Contains(got, "goroutine") {
		t.Errorf("no stack for %s in %q", where, got)
	}
}

func TestLogDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "logs")
	setLogFlags(t, "log_dir=", "logtostderr=true")
	var out, errs bytes.Buffer
	if code := Execute([]string{"-log_dir", dir, "version"}, &out, &errs); code != exitOK || errs.Len() > 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if got := flag.Lookup("logtostderr").Value.String(); got != "false" {
		t.Error("logs still go to stderr")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("directory: %v, error %v; want it there and empty", entries, err)
	}
}

func TestLogDirThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	setLogFlags(t, "log_dir=", "logtostderr=true")
	var out, errs bytes.Buffer
	code := Execute([]string{"version", "-log_dir=" + file + "/logs"}, &out, &errs)
	if code != exitFailure || !strings.HasPrefix(errs.String(), "weed version: -log_dir: ") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit code %d, %q", code, &errs)
	}
}
