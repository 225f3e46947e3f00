package shell

import (
	"strconv"
	"strings"
)

// Flags are the flags of one command, bound to fields of it.
type Flags struct {
	list []flag
}

type flag struct {
	name     string
	value    string // what the value is called, "" for a switch
	usage    string
	set      func(text string) error
	complete Source // of values, may be nil
}

// Switch declares a flag that is given or not.
func (f *Flags) Switch(to *bool, name, usage string) {
	f.list = append(f.list, flag{name: name, usage: usage, set: func(text string) (err error) {
		if *to, err = strconv.ParseBool(text); err != nil {
			return usageErrorf("-%s: %q is neither true nor false", name, text)
		}
		return nil
	}})
}

// String declares a flag with a value, which its help calls value. complete may be nil.
func (f *Flags) String(to *string, name, value, usage string, complete Source) {
	f.list = append(f.list, flag{name: name, value: value, usage: usage, complete: complete,
		set: func(text string) error { *to = text; return nil }})
}

// Count declares a flag whose value is a number from 1 on.
func (f *Flags) Count(to *int, name, value, usage string) {
	f.list = append(f.list, flag{name: name, value: value, usage: usage, set: func(text string) error {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return usageErrorf("-%s: %q is not a number from 1 on", name, text)
		}
		*to = int(n)
		return nil
	}})
}

func (f *Flags) find(name string) *flag {
	for i := range f.list {
		if f.list[i].name == name {
			return &f.list[i]
		}
	}
	return nil
}

func (f *Flags) names() []string {
	names := make([]string, len(f.list))
	for i := range f.list {
		names[i] = f.list[i].name
	}
	return names
}

// cutFlag takes a word that is a flag apart. Flags begin with one dash or two; ok is false for other words.
func cutFlag(word string) (name, value string, hasValue, ok bool) {
	if len(word) < 2 || word[0] != '-' || word == "--" {
		return "", "", false, false
	}
	name, value, hasValue = strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
	return name, value, hasValue, true
}

// parse sets the flags among the words and returns the others. Flags may stand anywhere; behind "--" there are
// none. A flag that is no switch takes the next word whatever that looks like.
func (f *Flags) parse(words []string, nearest Nearest) (args []string, err error) {
	for i := 0; i < len(words); i++ {
		if words[i] == "--" {
			return append(args, words[i+1:]...), nil
		}
		name, value, hasValue, ok := cutFlag(words[i])
		if !ok {
			args = append(args, words[i])
			continue
		}
		def := f.find(name)
		switch {
		case def == nil:
			return nil, unknown("flag", "-", name, f.names(), nearest)
		case hasValue:
		case def.value == "":
			value = "true"
		case i+1 == len(words):
			return nil, usageErrorf("-%s needs a value", name)
		default:
			i++
			value = words[i]
		}
		if err := def.set(value); err != nil {
			return nil, err
		}
	}
	return args, nil
}
