package shell

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// expect waits until the bench has printed text.
func (b *bench) expect(t *testing.T, text string) {
	t.Helper()
	for late := time.After(20 * time.Second); ; {
		if _, rest, ok := strings.Cut(b.seen, text); ok {
			b.seen = rest
			return
		}
		select {
		case <-b.out.grown():
			b.seen += b.out.take()
		case <-late:
			t.Fatalf("printed %q, want %q", b.seen, text)
		}
	}
}

func TestRunLinesAsTheyArrive(t *testing.T) {
	b := newBench(t, nil)
	in, typed := io.Pipe()
	ended := make(chan error)
	go func() { ended <- b.RunLines(bg, in) }()
	for _, line := range []string{"# a script", "", "server.list", "volume.list 1; collection.list -json"} {
		io.WriteString(typed, line+"\r\n")
	}
	b.expect(t, "PUBLIC URL")
	b.expect(t, `[{"name":"","volumes":1`)
	typed.CloseWithError(io.EOF)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.out.take()+b.errs.take(), "weed>") {
		t.Error("a prompt where nobody types")
	}
}

func TestRunLinesEnds(t *testing.T) {
	b := newBench(t, nil)
	for script, want := range map[string]string{
		"server.list\nvolume.list 99\nvolume.grow\n": "line 2: volume.list: there is no volume 99",
		"\n\nvolume.lst\nvolume.grow\n":              "line 3: unknown command volume.lst; did you mean volume.adopt?",
		"volume.mark 3\nvolume.grow":                 "line 1: volume.mark: give either -readonly or -writable",
		"server.list; exit\nvolume.grow":             "",
		"server.list":                                "",
		strings.Repeat("x", maxLine+1):               "line 1: read commands: bufio.Scanner: token too long",
	} {
		err := b.RunLines(bg, strings.NewReader(script))
		if got := text(err); got != want || errors.Is(err, ErrUsage) != (strings.Contains(want, "volume.lst") || strings.Contains(want, "either")) {
			t.Errorf("%.60q: %q, want %q", script, got, want)
		}
		if orders := b.master.takeOrders(); len(orders) > 0 {
			t.Errorf("%.60q went on: %v", script, orders)
		}
	}
	in, typed := io.Pipe()
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if err := b.RunLines(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
	typed.Close() // ends the read that was left behind
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// person is a LineReader with what somebody types.
type person struct {
	lines      chan any // strings, or errors
	prompts    []string
	remembered []string
}

func (p *person) Line(prompt string) (string, error) {
	p.prompts = append(p.prompts, prompt)
	switch typed := (<-p.lines).(type) {
	case string:
		return typed, nil
	case error:
		return "", typed
	}
	return "", io.EOF
}

func (p *person) Remember(line string) { p.remembered = append(p.remembered, line) }

// types queues what a person types; then comes the end of input.
func types(typed ...any) *person {
	p := &person{lines: make(chan any, len(typed))}
	for _, x := range typed {
		p.lines <- x
	}
	close(p.lines)
	return p
}

func TestInteract(t *testing.T) {
	b := newBench(t, nil)
	p := types("  server.list ", "", ErrInterrupted, "volume.lst", "volume.list 99", "collection.list")
	if err := b.Interact(bg, p, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"server.list", "volume.lst", "volume.list 99", "collection.list"}; !slices.Equal(p.remembered, want) {
		t.Errorf("remembers %q, want %q", p.remembered, want)
	}
	if got, want := b.errs.take(), "unknown command volume.lst; did you mean volume.adopt?\nvolume.list: there is no volume 99\n"; got != want {
		t.Errorf("complains %q, want %q", got, want)
	}
	if out := b.out.take(); !strings.Contains(out, "PUBLIC URL") || !strings.Contains(out, "COLLECTION") {
		t.Error(out)
	}
	if p := types("exit", "volume.grow"); b.Interact(bg, p, nil) != nil || len(b.master.takeOrders()) > 0 {
		t.Error("goes on after exit")
	}
	broken := errors.New("terminal is gone")
	if err := b.Interact(bg, types(broken), nil); err != broken {
		t.Error(err)
	}
}

func TestInterruptEndsTheCommand(t *testing.T) {
	b := newBench(t, nil)
	interrupts := make(chan os.Signal, 1)
	interrupts <- os.Interrupt // too late for any command: must not hurt the next one
	asked := make(chan struct{})
	b.master.set(func() { b.master.block = asked })
	go func() {
		<-asked
		b.master.set(func() { b.master.block = nil })
		interrupts <- os.Interrupt
	}()
	if err := b.Interact(bg, types("server.list", "volume.list; server.list", "collection.list"), interrupts); err != nil {
		t.Fatal(err)
	}
	if got := b.errs.take(); got != "interrupted\n" {
		t.Errorf("complains %q", got)
	}
	out := b.out.take()
	if strings.Count(out, "PUBLIC URL") != 1 || !strings.Contains(out, "COLLECTION") {
		t.Error("the line must end with the interrupt, and the shell go on:", out)
	}
}

func TestInteractEndsWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(bg)
	p := &person{lines: make(chan any)}
	ended := make(chan error)
	go func() { ended <- b.Interact(ctx, p, nil) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(p.lines) // ends the read that was left behind
}

func TestConsent(t *testing.T) {
	for _, c := range []struct {
		answer any
		done   bool
		err    string
	}{
		{"yes", true, ""},
		{"y", false, "collection.delete: not done"},
		{"", false, "collection.delete: not done"},
		{ErrInterrupted, false, "collection.delete: not done"},
		{io.EOF, false, "collection.delete: not done"},
		{errors.Join(io.EOF, nil), false, "collection.delete: not done"},
		{io.ErrClosedPipe, false, "collection.delete: " + io.ErrClosedPipe.Error()},
	} {
		p := types(c.answer)
		b := newBench(t, func(cfg *Config) { cfg.Ask = p.Line })
		err := b.Run(bg, "collection.delete pictures")
		if orders := b.master.takeOrders(); text(err) != c.err || len(orders) > 0 != c.done {
			t.Errorf("answer %v: %v, orders %v", c.answer, err, orders)
		}
		if plan := b.errs.take(); !strings.Contains(plan, "1201 files in 3 copies of 2 volumes") {
			t.Errorf("does not say what it will do: %q", plan)
		}
		if len(p.prompts) != 1 {
			t.Errorf("asks %q", p.prompts)
		}
	}
	p := types()
	b := newBench(t, func(cfg *Config) { cfg.Ask = p.Line })
	if err := b.Run(bg, "collection.delete -yes pictures; cluster.remove -yes 127.0.0.1:1"); len(p.prompts) > 0 || !strings.Contains(text(err), "only one master") {
		t.Errorf("asks %q, %v", p.prompts, err)
	}
}

func TestNoMaster(t *testing.T) {
	b := newBench(t, nil)
	b.master.set(func() { b.master.status["/cluster/status"] = 500 })
	for _, script := range []string{"cluster.status", "cluster.remove -yes 127.0.0.1:1"} {
		if err := b.Run(bg, script); !strings.HasSuffix(text(err), ": told to fail") {
			t.Errorf("%s: %v", script, err)
		}
	}
	if orders := b.master.takeOrders(); len(orders) > 0 {
		t.Error(orders)
	}
}
