package shell

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is text in columns, the first row being their titles.
type table struct {
	right []bool // which columns are numbers
	rows  [][]string
}

// newTable makes a table; the title of a column of numbers begins with ">".
func newTable(titles ...string) *table {
	t := &table{right: make([]bool, len(titles))}
	for i, title := range titles {
		titles[i], t.right[i] = strings.CutPrefix(title, ">")
	}
	t.rows = append(t.rows, titles)
	return t
}

// add adds a row, with "-" for what is empty.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		if row[i] = fmt.Sprint(cell); row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// write aligns the columns, two blanks apart.
func (t *table) write(w io.Writer) {
	widths := make([]int, len(t.right))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var line strings.Builder
	for _, row := range t.rows {
		line.Reset()
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if t.right[i] {
				line.WriteString(pad + cell + "  ")
			} else {
				line.WriteString(cell + pad + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// size writes a number of bytes for people.
func size(bytes uint64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	n, unit := float64(bytes), 0
	for n >= 999.5 && unit < len("KMGTP") {
		n /= 1024
		unit++
	}
	if n < 9.95 {
		return fmt.Sprintf("%.1f %ciB", n, "KMGTP"[unit-1])
	}
	return fmt.Sprintf("%.0f %ciB", n, "KMGTP"[unit-1])
}

// count writes a number with what is counted, whose plural ends in "s" unless it is given.
func count(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case len(plural) > 0:
		return fmt.Sprintf("%d %s", n, plural[0])
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
