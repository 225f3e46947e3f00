package shell

import (
	"context"
	"slices"
	"strings"
	"time"
)

// completionTime bounds the wait for the masters when a person presses Tab.
const completionTime = 2 * time.Second

// Complete returns what the word left of the cursor may become: the line is head, one of the candidates, and
// tail. pos counts runes. The candidates are in order; where there is nothing to suggest, or the masters do
// not answer soon, there are none.
func (s *Shell) Complete(ctx context.Context, line string, pos int) (head string, candidates []string, tail string) {
	runes := []rune(line)
	pos = min(pos, len(runes))
	left, tail := string(runes[:pos]), string(runes[pos:])
	commands, _ := lex(left) // a quote may be open
	words := commands[len(commands)-1]
	typed := word{start: len(left), end: len(left)}
	if n := len(words); n > 0 && words[n-1].end == len(left) {
		words, typed = words[:n-1], words[n-1]
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	prefix, found := s.candidates(ctx, words, typed.text)
	head = left[:typed.start] + prefix
	typed.text = strings.TrimPrefix(typed.text, prefix)
	for _, candidate := range found {
		if strings.HasPrefix(candidate, typed.text) && strings.TrimSpace(candidate) != "" {
			candidates = append(candidates, candidate)
		}
	}
	slices.SortFunc(candidates, naturally)
	return head, slices.Compact(candidates), tail
}

// candidates lists what may follow the words of a command, begun as typed. The prefix of typed is not part of
// the candidates.
func (s *Shell) candidates(ctx context.Context, words []word, typed string) (prefix string, found []string) {
	if len(words) == 0 {
		return "", suffixed(s.names(), " ")
	}
	spec := s.find(words[0].text)
	if spec == nil {
		return "", nil
	}
	var flags Flags
	spec.New().Flags(&flags)
	if last := words[len(words)-1].text; len(words) > 1 { // a flag that waits for its value
		if name, _, hasValue, ok := cutFlag(last); ok && !hasValue {
			if def := flags.find(name); def != nil && def.value != "" {
				return "", s.list(ctx, def.complete)
			}
		}
	}
	name, _, hasValue, _ := cutFlag(typed)
	switch {
	case hasValue:
		prefix = typed[:strings.IndexByte(typed, '=')+1]
		if def := flags.find(name); def != nil && def.value != "" {
			found = s.list(ctx, def.complete)
		}
		return prefix, found
	case strings.HasPrefix(typed, "-"):
		if strings.HasPrefix(typed, "--") {
			prefix = "-"
		}
		for _, f := range flags.list {
			end := " "
			if f.value != "" {
				end = "="
			}
			found = append(found, "-"+f.name+end)
		}
		return prefix, found
	}
	return "", s.list(ctx, spec.Complete)
}

// list returns what a source lists, each with a blank behind it.
func (s *Shell) list(ctx context.Context, source Source) []string {
	if source == nil {
		return nil
	}
	names, err := source(ctx, &s.env)
	if err != nil {
		return nil
	}
	return suffixed(names, " ")
}

func suffixed(names []string, end string) []string {
	longer := make([]string, len(names))
	for i, name := range names {
		longer[i] = name + end
	}
	return longer
}

// naturally compares numbers by length first, so that 9 comes before 10, and other texts by their bytes.
func naturally(a, b string) int {
	isNumber := func(s string) bool { return s[0] >= '0' && s[0] <= '9' && !strings.ContainsAny(s, ".:") }
	if len(a) != len(b) && isNumber(a) && isNumber(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
