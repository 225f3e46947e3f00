package shell

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"weed/client"
	"weed/client/filer"
)

// Config says what a Shell works with.
type Config struct {
	Client   *client.Client
	Filer    *filer.Client // for the fs commands
	Out, Err io.Writer
	// Nearest makes suggestions for what is unknown; nil makes none.
	Nearest Nearest
	// Ask puts a question to a person, and returns ErrInterrupted or io.EOF when there is no answer; nil where
	// there is nobody to ask. It need not end with a context: the Shell leaves it behind then.
	Ask func(question string) (answer string, err error)
	// PollEvery is how often masters are asked how far they are with what takes time (500 ms).
	PollEvery time.Duration
}

// Shell runs commands. It is used by one caller at a time.
type Shell struct {
	env     Env
	specs   []Spec // by name
	nearest Nearest

	pollEvery time.Duration
}

// ErrInterrupted is what a line reader returns when the person has dropped the line.
var ErrInterrupted = errors.New("interrupted")

// errExit is what the command exit returns.
var errExit = errors.New("exit")

// New returns a Shell with all commands. It makes no connection.
func New(cfg Config) *Shell {
	s := &Shell{specs: catalogue(), nearest: cfg.Nearest, pollEvery: cmp.Or(cfg.PollEvery, pollEvery)}
	s.env = Env{Client: cfg.Client, Filer: cfg.Filer, Out: cfg.Out, Err: cfg.Err, shell: s}
	if cfg.Ask != nil {
		s.env.Ask = func(ctx context.Context, question string) (string, error) {
			return await(ctx, func() (string, error) { return cfg.Ask(question) })
		}
	}
	return s
}

// catalogue joins the commands of all nouns.
func catalogue() []Spec {
	specs := slices.Concat(generalCommands, clusterCommands, collectionCommands, serverCommands, volumeCommands, copyCommands, checkCommands, fsCommands, verifyCommands, contentCommands)
	slices.SortFunc(specs, func(a, b Spec) int { return strings.Compare(a.Name, b.Name) })
	return specs
}

func (s *Shell) find(name string) *Spec {
	for i := range s.specs {
		if s.specs[i].Name == name {
			return &s.specs[i]
		}
	}
	return nil
}

func (s *Shell) names() []string {
	names := make([]string, len(s.specs))
	for i := range s.specs {
		names[i] = s.specs[i].Name
	}
	return names
}

// call is a command that is ready to run.
type call struct {
	name    string
	command Command
}

// parse checks a whole line and returns its commands.
func (s *Shell) parse(line string) ([]call, error) {
	commands, err := lex(line)
	if err != nil {
		return nil, err
	}
	var calls []call
	for _, words := range commands {
		if len(words) == 0 {
			continue
		}
		name := words[0].text
		spec := s.find(name)
		if spec == nil {
			return nil, unknown("command", "", name, s.names(), s.nearest)
		}
		texts := make([]string, 0, len(words))
		for _, w := range words[1:] {
			texts = append(texts, w.text)
		}
		c := call{name, spec.New()}
		var flags Flags
		c.command.Flags(&flags)
		args, err := flags.parse(texts, s.nearest)
		if err == nil {
			err = c.command.Check(args)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// runLine runs the commands of a line until one fails, which may be with errExit.
func (s *Shell) runLine(ctx context.Context, line string) error {
	calls, err := s.parse(line)
	if err != nil {
		return err
	}
	for _, c := range calls {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.command.Run(ctx, &s.env); err == errExit {
			return err
		} else if err != nil {
			return fmt.Errorf("%s: %w", c.name, explain(err))
		}
	}
	return nil
}

// Run runs a script, commands separated by semicolons or line ends, until one fails. The error is ErrUsage when
// the script is malformed; then nothing was run.
func (s *Shell) Run(ctx context.Context, script string) error {
	if err := s.runLine(ctx, script); err != errExit {
		return err
	}
	return nil
}

// maxLine bounds a line of a script in bytes.
const maxLine = 1 << 20

// RunLines runs the lines of r, each as it arrives, until one fails or r ends. When ctx ends first, a read of r
// may be left behind.
func (s *Shell) RunLines(ctx context.Context, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; ; number++ {
		line, err := await(ctx, func() (string, error) {
			if lines.Scan() {
				return lines.Text(), nil
			}
			if err := lines.Err(); err != nil {
				return "", fmt.Errorf("read commands: %w", err)
			}
			return "", io.EOF
		})
		if err == nil {
			err = s.runLine(ctx, line)
		} else if err == io.EOF {
			return nil
		}
		switch {
		case err == errExit:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
}

// LineReader reads lines from a person.
type LineReader interface {
	// Line shows the prompt and returns the line without its end, ErrInterrupted when the person drops the
	// line, or io.EOF when there will be no more.
	Line(prompt string) (string, error)
	// Remember keeps a line so that the person can call it back.
	Remember(line string)
}

const prompt = "weed> "

// Interact runs what a person types, complaints going to Err, until the person leaves or ctx ends. An interrupt
// ends the command that runs. When ctx ends, a call of lines.Line may be left behind.
func (s *Shell) Interact(ctx context.Context, lines LineReader, interrupts <-chan os.Signal) error {
	for {
		line, err := await(ctx, func() (string, error) { return lines.Line(prompt) })
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, ErrInterrupted):
			continue
		case err != nil:
			return err
		}
		if line = strings.TrimSpace(line); line != "" {
			lines.Remember(line)
		}
		err = s.runInterruptible(ctx, line, interrupts)
		switch {
		case err == errExit:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			fmt.Fprintln(s.env.Err, err)
		}
	}
}

// runInterruptible runs a line that the first interrupt ends.
func (s *Shell) runInterruptible(ctx context.Context, line string, interrupts <-chan os.Signal) error {
	select {
	case <-interrupts: // one that came too late for the line before
	default:
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-interrupts:
			cancel()
		case <-running.Done():
		}
	}()
	err := s.runLine(running, line)
	interrupted := running.Err() != nil && ctx.Err() == nil
	cancel()
	<-ended
	if interrupted && err != nil {
		return ErrInterrupted
	}
	return err
}

// await returns what read does, or the error of ctx when that ends first; then read is left behind.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		line string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		line, err := read()
		results <- result{line, err}
	}()
	select {
	case r := <-results:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
