package cmd

import (
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestShell runs the shell against a store, with -c and at the end of a pipe.
func TestShell(t *testing.T) {
	master, p := store(t)
	code, stdout, stderr := run(t, "shell", "-master", master, "-c", "volume.grow -count=2 -collection=pic -json; volume.list -collection=pic -json")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, %s", code, stderr)
	}
	grown, listed, _ := strings.Cut(stdout, "\n")
	var volumes []struct {
		ID       uint32
		Writable bool
	}
	if err := json.Unmarshal([]byte(listed), &volumes); err != nil || grown != `{"asked":2,"made":2}` || len(volumes) != 2 || !volumes[0].Writable {
		t.Fatalf("%v: %s", err, stdout)
	}

	for _, c := range []struct {
		script         string
		code           int
		stdout, stderr string // parts
	}{
		{"cluster.status", exitOK, "leader", ""},
		{"collection.list; exit; nonsense", exitUsage, "", "unknown command nonsense\n"},
		{"volume.grow; volume.lits", exitUsage, "", "unknown command volume.lits; did you mean volume.list?\n\"weed help shell\""},
		{"volume.list -colection=x", exitUsage, "", "volume.list: unknown flag -colection; did you mean -collection?\n"},
		{"volume.mark -readonly 99999; collection.delete -yes pic", exitFailure, "", "volume.mark: volume 99999 not found\n"},
		{"collection.delete pic", exitFailure, "", "add -yes to do it\n"},
		{"cluster.remove -yes " + master, exitFailure, "", "only one master"},
		{"cluster.transfer", exitFailure, "", "no other master"},
		{"", exitOK, "", ""},
	} {
		code, stdout, stderr := run(t, "shell", "-master", master, "-c", c.script)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: exit code %d, %q, %q; want %d, %q, %q", c.script, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
	}

	script := "volume.mark -readonly 1 # for a while\nvolume.list 1\nvolume.mark -writable 1\ncollection.delete -yes pic\nvolume.lst\nserver.list\n"
	piped := exec.Command(build(t), "shell", "-master", master)
	piped.Stdin = strings.NewReader(script)
	var out, errs strings.Builder
	piped.Stdout, piped.Stderr = &out, &errs
	if err := piped.Run(); piped.ProcessState.ExitCode() != exitUsage {
		t.Errorf("%v: %s", err, errs.String())
	}
	for _, want := range []string{"Volume 1 is marked read-only", "read-only: marked by the operator", "Collection pic is deleted."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "weed>") || strings.Contains(out.String(), "PUBLIC URL") ||
		!strings.Contains(errs.String(), "line 5: unknown command volume.lst") {
		t.Errorf("%s\n%s", out.String(), errs.String())
	}

	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	if code, _, stderr := run(t, "shell", "-master", master, "-c", "server.list"); code != exitFailure || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without a store: exit code %d, %q", code, stderr)
	}
}

func TestShellUsage(t *testing.T) {
	for line, want := range map[string]string{
		"shell volume.list":     `weed shell: unexpected argument "volume.list"; commands are given as one text: -c "volume.list"` + "\n",
		"shell -comand=x":       "weed shell: unknown flag -comand",
		"shell -c":              "weed shell: -c needs a value\n",
		"shell -c=volume.list=": "weed shell: unknown command volume.list=; did you mean volume.list?\n",
	} {
		code, stdout, stderr := execute(t, line)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("weed %s: exit code %d, %q, %q; want %q", line, code, stdout, stderr, want)
		}
	}
	if code, stdout, stderr := execute(t, "shell -c=help"); code != exitOK || !strings.Contains(stdout, "volume.list") || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}
