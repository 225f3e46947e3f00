package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestPassword reads a password from where it may stand.
func TestPassword(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("secret", "from file \r\n")
	for _, c := range []struct{ args, env, want, err string }{
		{"", "", "", ""},
		{"", "from environment", "from environment", ""},
		{"--p=flag", "from environment", "flag", ""},
		{"--pFile=" + file, "from environment", "from file ", ""},
		{"--p=flag --pFile=" + file, "", "", "give one of -p and -pFile"},
		{"--pFile=" + write("empty", "\n"), "from environment", "", "is empty"},
		{"--pFile=" + write("long", strings.Repeat("x", maxPasswordBytes+1)), "", "", "is too long"},
		{"--pFile=" + dir, "", "", "-pFile: "},
	} {
		t.Setenv("WEED_TEST_PASSWORD", c.env)
		p := password{env: "WEED_TEST_PASSWORD"}
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		p.register(flags, "p", "a server")
		if err := flags.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		got, err := p.read()
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q with %q in the environment: %q, %v; want %q, %q", c.args, c.env, got, err, c.want, c.err)
		}
	}
}
