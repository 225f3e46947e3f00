package shell

import (
	"fmt"
	"strings"
	"testing"
)

func TestLex(t *testing.T) {
	for _, c := range []struct{ line, want, err string }{
		{"", "[[]]", ""},
		{"a b", "[[a b]]", ""},
		{"  a\t b ;c;; d\ne\r\n", "[[a b] [c] [] [d] [e] []]", ""},
		{`'a b' "c;d" e\ f\;g`, "[[a b c;d e f;g]]", ""},
		{`"a\"b\\c\d"'e\f'`, `[[a"b\c\de\f]]`, ""},
		{`a"" '' b`, "[[a  b]]", ""},
		{"a # b; c\nd#e", "[[a] [d#e]]", ""},
		{"# only", "[[]]", ""},
		{"'a b", "[[a b]]", "the quote ' is not closed"},
		{`a "b;c`, "[[a b;c]]", `the quote " is not closed`},
		{`a\`, "[[a]]", "nothing follows the backslash at the end"},
		{"ü 'é'", "[[ü é]]", ""},
	} {
		commands, err := lex(c.line)
		var texts [][]string
		for _, words := range commands {
			texts = append(texts, textsOf(words))
		}
		if got := fmt.Sprint(texts); got != c.want || text(err) != c.err {
			t.Errorf("%q: %s, %v; want %s, %s", c.line, got, err, c.want, c.err)
		}
	}
}

func textsOf(words []word) []string {
	texts := []string{}
	for _, w := range words {
		texts = append(texts, w.text)
	}
	return texts
}

// FuzzLex checks that words lie in the line in order, and that a line made of its words, quoted, says the same.
func FuzzLex(f *testing.F) {
	for _, seed := range []string{"a b", `'a b' "c\"d" e\ f; #g`, "'", `"\`, "a;b\nc", "ü\xff 'é'#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		commands, err := lex(line)
		if len(commands) == 0 {
			t.Fatal("no command at all")
		}
		end := 0
		var again strings.Builder
		for i, words := range commands {
			if i > 0 {
				again.WriteByte(';')
			}
			for _, w := range words {
				if w.start < end || w.end <= w.start || w.end > len(line) {
					t.Fatalf("word at %d to %d of %d, after %d", w.start, w.end, len(line), end)
				}
				end = w.end
				again.WriteString("'" + strings.ReplaceAll(w.text, "'", `'\''`) + "' ")
			}
		}
		if err != nil {
			return
		}
		quoted, err := lex(again.String())
		if err != nil || len(quoted) != len(commands) {
			t.Fatalf("%q became %q: %v", line, again.String(), err)
		}
		for i := range quoted {
			if got, want := fmt.Sprintf("%q", textsOf(quoted[i])), fmt.Sprintf("%q", textsOf(commands[i])); got != want {
				t.Fatalf("%q became %q: %s, want %s", line, again.String(), got, want)
			}
		}
	})
}

func TestTable(t *testing.T) {
	table := newTable("A", ">N", "Ü")
	table.add("é", 1, "")
	table.add("longer", 1000, "x")
	var b strings.Builder
	table.write(&b)
	if want := "A          N  Ü\né          1  -\nlonger  1000  x\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	for bytes, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1024: "1.0 KiB", 10188: "9.9 KiB",
		10189: "10 KiB", 1 << 20: "1.0 MiB", 1023 << 10: "1.0 MiB", 30000 << 20: "29 GiB", 1 << 63: "8192 PiB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d bytes are %s, want %s", bytes, got, want)
		}
	}
	if got := count(1, "copy", "copies") + count(2, "copy", "copies") + count(0, "file"); got != "1 copy2 copies0 files" {
		t.Error(got)
	}
}
