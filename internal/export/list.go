package export

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// columns are those of a listing, a tab between them.
const columns = "key\tname\tsize\tgzip\tmime\tmodified\tttl\tdeleted\tstart\tstop\n"

// List is a listing that is being written: a line for each blob.
type List struct{ w *bufio.Writer }

// NewList begins a listing. It does not close w.
func NewList(w io.Writer) (*List, error) {
	l := &List{bufio.NewWriterSize(w, 64<<10)}
	_, err := l.w.WriteString(columns)
	return l, err
}

// Add appends a line.
func (l *List) Add(b *Blob) error {
	name, modified := column(b.Name), ""
	if b.Tombstone {
		name = "*tombstone"
	}
	if b.Modified != 0 {
		modified = b.modified().Format(TimeFormat)
	}
	_, err := fmt.Fprintf(l.w, "%s\t%s\t%d\t%t\t%s\t%s\t%s\t%t\t%d\t%d\n",
		b.FID, name, b.SizeBytes, b.Gzipped, column(b.Mime), modified, b.TTL, b.Deleted, b.Start, b.Stop)
	return err
}

// column keeps a text that somebody else chose within its column, and away from the terminal.
func column(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return clean(text)
	}
	return text
}

// Close writes the last lines.
func (l *List) Close() error { return l.w.Flush() }

// TimeFormat is how listings write times, and how ParseTime reads them: the local time.
const TimeFormat = "2006-01-02T15:04:05"

// ParseTime reads a time in TimeFormat, or with a zone behind it (RFC 3339), and returns unix seconds.
func ParseTime(text string) (int64, error) {
	at, err := time.ParseInLocation(TimeFormat, text, time.Local)
	if err != nil {
		if at, err = time.Parse(time.RFC3339, text); err != nil {
			return 0, fmt.Errorf("%q is no time such as 2006-01-02T15:04:05", text)
		}
	}
	return at.Unix(), nil
}
