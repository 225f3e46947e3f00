package cmd

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// execute runs a command line, words separated by blanks, within the process.
func execute(t *testing.T, line string) (code int, stdout, stderr string) {
	t.Helper()
	var names []string
	for _, f := range logFlags {
		names = append(names, f.name+"="+flag.Lookup(f.name).Value.String())
	}
	setLogFlags(t, names...) // whatever the command line sets ends with the test
	var out, errs bytes.Buffer
	code = Execute(strings.Fields(line), &out, &errs)
	return code, out.String(), errs.String()
}

// fullDisk takes no bytes.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestHelpToAFullDisk: a page that nobody gets is no success.
func TestHelpToAFullDisk(t *testing.T) {
	for _, line := range []string{"help", "-h", "help volume", "volume -h"} {
		var errs bytes.Buffer
		if code := Execute(strings.Fields(line), fullDisk{}, &errs); code != exitFailure || !strings.Contains(errs.String(), "no space") {
			t.Errorf("%s: exit code %d, %q", line, code, errs.String())
		}
	}
}

func TestExecute(t *testing.T) {
	for _, c := range []struct {
		line   string
		code   int
		stdout string // prefix
		stderr string // prefix
	}{
		{"version", exitOK, "weed ", ""},
		{"-v=3 version", exitOK, "weed ", ""},
		{"version -v 3", exitOK, "weed ", ""},
		{"help", exitOK, "Usage: weed command", ""},
		{"-h", exitOK, "Usage: weed command", ""},
		{"version --help", exitOK, "Usage: weed version", ""},
		{"help version", exitOK, "Usage: weed version", ""},

		{"", exitUsage, "", "weed: a command is needed: one of "},
		{"-v=3", exitUsage, "", "weed: a command is needed: one of "},
		{"versoin", exitUsage, "", "weed: unknown command \"versoin\"; did you mean \"version\"?\n\"weed help\" shows"},
		{"help versoin", exitUsage, "", "weed help: unknown command \"versoin\"; did you mean \"version\"?\n\"weed help\" shows"},
		{"help version x", exitUsage, "", "weed help: unexpected argument \"x\"\n"},
		{"version -vmodul=x=1", exitUsage, "", "weed version: unknown flag -vmodul; did you mean -vmodule?\n\"weed help version\" shows"},
		{"version x", exitUsage, "", "weed version: unexpected argument \"x\"\n"},
		{"version -logtostderr false", exitUsage, "", "weed version: unexpected argument \"false\"; the value of a switch is written -name=false\n"},
		{"version -v", exitUsage, "", "weed version: -v needs a value\n"},

		{"version -v=x", exitFailure, "", "weed version: -v: \"x\" is not a whole number\n"},
		{"version -logtostderr=x", exitFailure, "", "weed version: -logtostderr: \"x\" is neither true nor false\n"},
		{"version -stderrthreshold=x", exitFailure, "", "weed version: -stderrthreshold: \"x\" is none of INFO, WARNING, ERROR, FATAL\n"},
		{"version -vmodule=x", exitFailure, "", "weed version: -vmodule: \"x\": syntax error"},
	} {
		code, stdout, stderr := execute(t, c.line)
		if code != c.code || !begins(stdout, c.stdout) || !begins(stderr, c.stderr) {
			t.Errorf("weed %s: exit code %d, stdout %q, stderr %q; want %d, %q, %q",
				c.line, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
		if want := min(c.code, exitUsage); strings.Count(stderr, "\n") != want {
			t.Errorf("weed %s: %q; want %d lines", c.line, stderr, want)
		}
	}
}

// begins reports whether text begins with prefix; an empty prefix asks for an empty text.
func begins(text, prefix string) bool {
	return strings.HasPrefix(text, prefix) && (prefix != "" || text == "")
}

// TestHelp compares the help of every command with its golden file.
func TestHelp(t *testing.T) {
	pages := map[string]string{"weed": "help"}
	for _, name := range commandNames(newRoot()) {
		pages[name] = "help " + name
	}
	for name, line := range pages {
		code, page, stderr := execute(t, line)
		if code != exitOK || stderr != "" {
			t.Errorf("weed %s: exit code %d, %s", line, code, stderr)
		}
		golden := filepath.Join("testdata", "help", name+".txt")
		if *update {
			if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Error(err)
		} else if page != string(want) {
			t.Errorf("weed %s differs from %s (go test ./cmd -update writes it anew):\n%s", line, golden, page)
		}
	}
}

// TestHelpIsComplete makes sure that every command has an example, and every flag a sentence.
func TestHelpIsComplete(t *testing.T) {
	root := newRoot()
	for _, name := range commandNames(root) {
		command := subcommand(root, name)
		if !strings.HasPrefix(command.Example, "weed "+name) || command.Long == "" || !strings.HasSuffix(command.Short, ".") {
			t.Errorf("%s lacks an example, or a text that says what it does", name)
		}
		for _, flagName := range flagNames(command) {
			usage := findFlag(command, flagName).Usage
			if flagName != "help" && (len(usage) < 20 || !strings.HasSuffix(usage, ".")) {
				t.Errorf("weed %s: the help of -%s is no sentence: %q", name, flagName, usage)
			}
		}
	}
}
