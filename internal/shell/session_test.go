package shell

import (
	"errors"
	stdflag "flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = stdflag.Bool("update", false, "write the golden files of testdata anew")

// TestSessions runs the scripts in testdata/sessions, lines that begin with "$ ", and compares what comes of
// them: what is printed, "! " before what goes to Err, "-> " before orders that the master gets, and how the
// script ends.
func TestSessions(t *testing.T) {
	files, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b := newBench(t, nil)
			b.master.others = `,{"Address":"127.0.0.1:1","Voter":true},{"Address":"127.0.0.1:2","Voter":false}`
			var got strings.Builder
			for line := range strings.Lines(string(want)) {
				if script, ok := strings.CutPrefix(line, "$ "); ok {
					got.WriteString(line)
					b.session(&got, strings.TrimSuffix(script, "\n"))
				} else if strings.HasPrefix(line, "# ") {
					got.WriteString(line)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != string(want) {
				t.Errorf("differs from %s (go test ./internal/shell -update writes it anew):\n%s", file, got.String())
			}
		})
	}
}

// session runs one script and writes what comes of it.
func (b *bench) session(to *strings.Builder, script string) {
	err := b.Run(bg, strings.ReplaceAll(script, shownAddress, b.master.address))
	hide := strings.NewReplacer(b.master.address, shownAddress, url.QueryEscape(b.master.address), shownAddress)
	show := func(prefix, text string) {
		for line := range strings.Lines(hide.Replace(text)) {
			fmt.Fprintf(to, "%s%s\n", prefix, strings.TrimSuffix(line, "\n"))
		}
	}
	show("", b.out.take())
	show("! ", b.errs.take())
	for _, order := range b.master.takeOrders() {
		show("-> ", order)
	}
	switch {
	case errors.Is(err, ErrUsage):
		show("usage: ", err.Error())
	case err != nil:
		show("failed: ", err.Error())
	}
	to.WriteString("\n")
}

// TestHelpIsComplete makes sure that every command is described, in sentences, with an example that is right.
func TestHelpIsComplete(t *testing.T) {
	b := newBench(t, nil)
	for _, spec := range b.specs {
		if calls, err := b.parse(spec.Example); err != nil || len(calls) != 1 || calls[0].name != spec.Name {
			t.Errorf("the example of %s: %v", spec.Name, err)
		}
		if !strings.HasSuffix(spec.Short, ".") || spec.Long != "" && !strings.HasSuffix(spec.Long, ".") {
			t.Errorf("%s is not described in sentences", spec.Name)
		}
		var flags Flags
		spec.New().Flags(&flags)
		for _, f := range flags.list {
			if !strings.HasSuffix(f.usage, ".") {
				t.Errorf("%s: the help of -%s is no sentence: %q", spec.Name, f.name, f.usage)
			}
		}
	}
}

func TestMasterFails(t *testing.T) {
	b := newBench(t, nil)
	b.master.set(func() { b.master.status["/vol/status"], b.master.status["/vol/mark"] = 500, 500 })
	for script, want := range map[string]string{
		"volume.list":                           "volume.list: told to fail",
		"collection.list":                       "collection.list: told to fail",
		"collection.delete -yes pictures":       "collection.delete: told to fail",
		"volume.mark -writable 3":               "volume.mark: told to fail",
		"server.list; volume.list; server.list": "volume.list: told to fail",
	} {
		if err := b.Run(bg, script); err == nil || err.Error() != want || errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v, want %s", script, err, want)
		}
	}
	if n := strings.Count(b.out.take(), "PUBLIC URL"); n != 1 {
		t.Errorf("%d commands ran of the one before the failure and the one behind it", n)
	}
	if b.master.takeOrders(); b.Run(bg, "collection.delete -yes pictures") == nil || len(b.master.takeOrders()) > 0 {
		t.Error("a collection is deleted unseen")
	}
}
