package cmd

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "copying")
	p.told = p.told.Add(-time.Hour)
	p.at(1<<20, 4<<20)
	p.end()
	if out.Len() != 0 {
		t.Errorf("told %q where nobody sees it", out.String())
	}
	p.terminal = true
	p.at(1<<20, 4<<20)
	p.at(2<<20, 4<<20) // at once: nobody could read it
	p.end()
	if got := out.String(); !strings.HasPrefix(got, "\r\x1b[Kcopying: 25.0% of 4 MB, ") || !strings.HasSuffix(got, " MB/s\r\x1b[K") || strings.Count(got, "copying") != 1 {
		t.Errorf("told %q", got)
	}
	if line := p.line(0, 0, time.Now()); !strings.HasPrefix(line, "copying: 100.0% of 0 MB") {
		t.Error(line)
	}
}
