package cmd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// testTree is a command tree with one flag of each kind, apart from what the real commands have.
func testTree() *cobra.Command {
	root := newRoot()
	leaf := &cobra.Command{Use: "leaf", Args: noArgs, RunE: func(*cobra.Command, []string) error { return nil }}
	leaf.Flags().Int("number", 1, "")
	leaf.Flags().String("text", "", "")
	leaf.Flags().Bool("switch", false, "")
	leaf.Flags().Bool("read.redirect", true, "")
	root.AddCommand(leaf)
	return root
}

func TestNormalise(t *testing.T) {
	for _, c := range []struct{ args, command, want string }{
		{"leaf -number=3", "leaf", "leaf --number=3"},
		{"leaf -number 3", "leaf", "leaf --number=3"},
		{"leaf --number=3", "leaf", "leaf --number=3"},
		{"leaf --number 3", "leaf", "leaf --number=3"},
		{"leaf -number -3", "leaf", "leaf --number=-3"},
		{"leaf -text -switch", "leaf", "leaf --text=-switch"},
		{"leaf -text -- x", "leaf", "leaf --text=-- x"},
		{"leaf -text=", "leaf", "leaf --text="},
		{"leaf -text=a=b", "leaf", "leaf --text=a=b"},
		{"leaf -text=-", "leaf", "leaf --text=-"},
		{"leaf -switch", "leaf", "leaf --switch=true"},
		{"leaf -switch=false", "leaf", "leaf --switch=false"},
		{"leaf -switch -number 1", "leaf", "leaf --switch=true --number=1"},
		{"leaf -switch false", "leaf", "leaf --switch=true false"}, // left over; noArgs refuses it
		{"leaf -read.redirect=false", "leaf", "leaf --read.redirect=false"},
		{"leaf a -switch b", "leaf", "leaf a --switch=true b"},
		{"leaf - -switch", "leaf", "leaf - --switch=true"},
		{"leaf -- -switch -nonsense", "leaf", "leaf -- -switch -nonsense"},
		{"-v=3 leaf -number=1", "leaf", "--v=3 leaf --number=1"},
		{"-v 3 leaf", "leaf", "--v=3 leaf"},
		{"leaf -v 3 -logtostderr", "leaf", "leaf --v=3 --logtostderr=true"},
		{"-logtostderr leaf", "leaf", "--logtostderr=true leaf"},
		{"-logtostderr -vmodule=volume=4 leaf", "leaf", "--logtostderr=true --vmodule=volume=4 leaf"},
		{"-log_dir /x leaf -log_backtrace_at a.go:1", "leaf", "--log_dir=/x leaf --log_backtrace_at=a.go:1"},
		{"leaf -h", "leaf", "leaf --help"},
		{"leaf --help", "leaf", "leaf --help"},
		{"-h leaf", "leaf", "--help leaf"},
		{"help leaf", "help", "help leaf"},
		{"", "weed", ""},
	} {
		command, got, err := normalise(testTree(), strings.Fields(c.args))
		if err != nil || command.Name() != c.command || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q: got %v for %s, error %v; want %s for %s", c.args, got, command.Name(), err, c.want, c.command)
		}
	}
}

func TestNormaliseRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"leaf -numbr=3", "unknown flag -numbr; did you mean -number?"},
		{"leaf --nubmer 3", "unknown flag -nubmer; did you mean -number?"},
		{"leaf -NUMBER 3", "unknown flag -NUMBER; did you mean -number?"},
		{"leaf -redirect", "unknown flag -redirect; did you mean -read.redirect?"},
		{"leaf -logtostder", "unknown flag -logtostder; did you mean -logtostderr?"},
		{"leaf -zzzzzzzz", "unknown flag -zzzzzzzz"},
		{"version -number=3", "unknown flag -number; leaf has it"},
		{"-number=3 leaf", "unknown flag -number; flags of a command stand behind its name (leaf)"},
		{"leaf -vn", "unknown flag -vn; did you mean -v?"}, // no clusters of single letters
		{"leaf -=3", "unknown flag -"},
		{"leaf ---number=3", "unknown flag --number; did you mean -number?"},
		{"leaf -number", "-number needs a value"},
		{"laef", `unknown command "laef"; did you mean "leaf"?`},
	} {
		_, _, err := normalise(testTree(), strings.Fields(c.args))
		var usage *usageError
		if !errors.As(err, &usage) || err.Error() != c.want {
			t.Errorf("%q: error %v; want %s", c.args, err, c.want)
		}
	}
}

// FuzzNormalise checks that whatever is typed either is refused or comes out in the one form that pflag reads
// without guessing: pflag must then agree on which flags are set to what.
func FuzzNormalise(f *testing.F) {
	f.Add("-v=3\x00leaf\x00-number\x00-3\x00a")
	f.Add("leaf\x00-switch\x00--\x00-text")
	f.Add("leaf\x00--text\x00--number=1\x00-switch=x")
	f.Fuzz(func(t *testing.T, line string) {
		root := testTree()
		command, out, err := normalise(root, strings.Split(line, "\x00"))
		if err != nil || command.Name() != "leaf" {
			return
		}
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		values := make(map[string]string)
		for _, name := range flagNames(command) {
			flags.Var(anything{name, values}, name, "")
		}
		flags.Bool("help", false, "")
		if err := flags.Parse(out); err != nil {
			t.Fatalf("%q became %q, which pflag refuses: %v", line, out, err)
		}
		for i, arg := range out {
			if arg == "--" {
				break
			}
			name, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			last := !slices.ContainsFunc(out[i+1:], func(a string) bool { return strings.HasPrefix(a, "--"+name+"=") })
			if ok && strings.HasPrefix(arg, "--") && last && values[name] != value {
				t.Fatalf("%q: -%s is %q for pflag, want %q", out, name, values[name], value)
			}
		}
	})
}

// anything is a flag that takes and keeps any value.
type anything struct {
	name   string
	values map[string]string
}

func (a anything) Set(value string) error { a.values[a.name] = value; return nil }
func (a anything) String() string         { return "" }
func (a anything) Type() string           { return "string" }

func TestNearest(t *testing.T) {
	candidates := []string{"port", "publicUrl", "mserver", "read.redirect", "defaultReplication", "v"}
	for _, c := range []struct{ name, want string }{
		{"prot", "port"}, {"ports", "port"}, {"PORT", "port"}, {"publicurl", "publicUrl"}, {"msever", "mserver"},
		{"replication", "defaultReplication"}, {"redirect", "read.redirect"}, {"x", ""}, {"V", "v"}, {"nothing", ""}, {"", ""},
	} {
		if got := nearest(c.name, candidates); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"port", "prt", 1}} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
