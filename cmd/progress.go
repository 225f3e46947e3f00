package cmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/golang/glog"
	"golang.org/x/sys/unix"
)

const (
	progressOnTerminal = 200 * time.Millisecond
	progressInLog      = 10 * time.Second
)

// progress tells how far long work is: on a terminal by a line that is written over again and again, elsewhere with
// -v=1 by a line in the log now and then, else not at all.
type progress struct {
	w        io.Writer
	terminal bool
	what     string
	began    time.Time
	told     time.Time
	shown    bool
}

// newProgress begins. The line goes to w, which is stderr.
func newProgress(w io.Writer, what string) *progress {
	now := time.Now()
	return &progress{w: w, terminal: isTerminal(w), what: what, began: now, told: now}
}

// isTerminal reports whether what is written there is seen by a person as it comes.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// at tells that done bytes of total are done.
func (p *progress) at(done, total int64) {
	now := time.Now()
	switch since := now.Sub(p.told); {
	case p.terminal && since >= progressOnTerminal:
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(done, total, now))
		p.shown = true
	case !p.terminal && since >= progressInLog && bool(glog.V(1)):
		glog.Info(p.line(done, total, now))
	default:
		return
	}
	p.told = now
}

func (p *progress) line(done, total int64, now time.Time) string {
	share := 100.0
	if total > 0 {
		share = float64(done) / float64(total) * 100
	}
	rate := float64(done) / max(now.Sub(p.began).Seconds(), 1e-3)
	return fmt.Sprintf("%s: %.1f%% of %d MB, %.0f MB/s", p.what, share, total>>20, rate/(1<<20))
}

// end takes the line away.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
