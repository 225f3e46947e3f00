package shell

import "strings"

// word is one word of a line.
type word struct {
	text       string // without its quotes
	start, end int    // in the line, quotes included
}

// lex splits a line into commands and these into words. Blanks separate words; a semicolon and the end of a
// line separate commands, of which some may be empty; there is always at least one. '…' quotes everything,
// "…" everything but \" and \\, and a backslash the next character. What follows # at the start of a word is a
// comment, up to the end of the line. On error the words are those of the line as far as it goes.
func lex(line string) (commands [][]word, err error) {
	commands = [][]word{nil}
	for i := 0; i < len(line); {
		switch c := line[i]; {
		case c == ';' || c == '\n':
			commands = append(commands, nil)
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#':
			if n := strings.IndexByte(line[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(line)
			}
		default:
			w, problem := lexWord(line, i)
			last := &commands[len(commands)-1]
			*last = append(*last, w)
			i = w.end
			if problem != nil {
				err = problem
			}
		}
	}
	return commands, err
}

// lexWord reads the word that starts at start.
func lexWord(line string, start int) (word, error) {
	var text strings.Builder
	quote := byte(0) // the one that is open
	i := start
	for ; i < len(line); i++ {
		c := line[i]
		escapes := c == '\\' && (quote == 0 || quote == '"' && i+1 < len(line) && strings.IndexByte(`"\`, line[i+1]) >= 0)
		switch {
		case escapes && i+1 == len(line):
			return word{text.String(), start, len(line)}, usageErrorf("nothing follows the backslash at the end")
		case escapes:
			i++
			text.WriteByte(line[i])
		case c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0 && strings.IndexByte("; \t\r\n", c) >= 0:
			return word{text.String(), start, i}, nil
		default:
			text.WriteByte(c)
		}
	}
	w := word{text.String(), start, i}
	if quote != 0 {
		return w, usageErrorf("the quote %c is not closed", quote)
	}
	return w, nil
}
