package testproc

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestPauseAndKill lets a child stand still, go on and end.
func TestPauseAndKill(t *testing.T) {
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	cmd := exec.Command("cat")
	cmd.Stdin = in
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	state := func() string {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/stat")
		if err != nil {
			t.Fatal(err)
		}
		return string(stat[strings.LastIndexByte(string(stat), ')')+2])
	}
	if err := p.Pause(); err != nil || state() != "T" {
		t.Errorf("paused: state %s, %v", state(), err)
	}
	if err := p.Resume(); err != nil {
		t.Error(err)
	}
	p.Kill()
	<-p.Done()
	if p.Err() == nil {
		t.Error("a child that was killed ended well")
	}
	p.Kill() // once more
}
