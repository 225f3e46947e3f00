package filer

import "bufio"

// indenter writes JSON that comes without blanks as json.Indent would, with two spaces for each level, and keeps
// nothing of it.
type indenter struct {
	out      *bufio.Writer
	depth    int
	fresh    bool // behind the bracket that opens something
	quoted   bool // inside a string
	escaping bool // behind a backslash
}

// Write takes the next bytes, which may end anywhere.
func (i *indenter) Write(b []byte) (int, error) {
	for _, c := range b {
		i.put(c)
	}
	return len(b), nil // out remembers an error until Flush
}

func (i *indenter) put(c byte) {
	switch {
	case i.quoted:
		i.quoted = i.escaping || c != '"'
		i.escaping = !i.escaping && c == '\\'
		_ = i.out.WriteByte(c)
		return
	case c == '}' || c == ']':
		i.depth--
		if !i.fresh {
			i.newLine()
		}
	case i.fresh:
		i.newLine()
	}
	i.fresh = false
	_ = i.out.WriteByte(c)
	switch c {
	case '"':
		i.quoted = true
	case '{', '[':
		i.depth++
		i.fresh = true
	case ',':
		i.newLine()
	case ':':
		_ = i.out.WriteByte(' ')
	}
}

func (i *indenter) newLine() {
	_ = i.out.WriteByte('\n')
	for range i.depth {
		_, _ = i.out.WriteString("  ")
	}
}
