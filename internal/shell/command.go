package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"weed/client"
	"weed/client/filer"
)

// Spec is what is known of a command without calling it.
type Spec struct {
	Name     string // noun.verb
	Args     string // the arguments as help shows them, "" for none
	Short    string // one sentence
	Long     string // more sentences, "" for none
	Example  string
	Complete Source         // of arguments, nil for none
	New      func() Command // one for each call
}

// Command is one call of a command. Flags and Check come first, in this order, and reach nobody; Run comes
// once, if the whole line was right.
type Command interface {
	// Flags declares the flags, bound to fields of the command.
	Flags(f *Flags)
	// Check takes the arguments and judges them together with the flags. Its errors are ErrUsage.
	Check(args []string) error
	// Run does it. The context ends when the person at the terminal interrupts.
	Run(ctx context.Context, e *Env) error
}

// Source lists what may stand somewhere in a line, for completion.
type Source func(ctx context.Context, e *Env) ([]string, error)

// Env is what a command works with.
type Env struct {
	Client *client.Client
	Filer  *filer.Client
	Out    io.Writer // for what the command found out
	Err    io.Writer // for what else there is to say
	// Ask puts a question to a person and returns the answer; nil where there is nobody to ask.
	Ask func(ctx context.Context, question string) (string, error)

	shell *Shell
}

// ErrUsage is the kind of complaint about a line that is no call of commands. Nothing of the line was run.
var ErrUsage = errors.New("usage")

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Is makes errors.Is(err, ErrUsage) true.
func (e *usageError) Is(target error) bool { return target == ErrUsage }

func usageErrorf(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// Nearest returns the candidate that a word was most likely meant to be, "" if none is near.
type Nearest func(word string, candidates []string) string

// unknown complains about a name of a kind that there is not, spelled with its prefix.
func unknown(kind, prefix, name string, candidates []string, nearest Nearest) error {
	if nearest != nil {
		if near := nearest(name, candidates); near != "" {
			return usageErrorf("unknown %s %s%s; did you mean %s%s?", kind, prefix, name, prefix, near)
		}
	}
	return usageErrorf("unknown %s %s%s", kind, prefix, name)
}

// noArgs is a part of commands without arguments.
type noArgs struct{}

// Check implements Command.
func (noArgs) Check(args []string) error {
	if len(args) > 0 {
		return usageErrorf("unexpected argument %q", args[0])
	}
	return nil
}

// oneArg returns the only argument, of which what says what it is.
func oneArg(args []string, what string) (string, error) {
	switch {
	case len(args) == 0 || args[0] == "":
		return "", usageErrorf("%s needed", what)
	case len(args) > 1:
		return "", usageErrorf("unexpected argument %q", args[1])
	}
	return args[0], nil
}

// output is a part of commands that have something to show.
type output struct{ json bool }

// Flags implements Command.
func (o *output) Flags(f *Flags) {
	f.Switch(&o.json, "json", "Print one line of JSON instead of text.")
}

// print shows v as JSON, or what text writes.
func (o *output) print(e *Env, v any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if o.json {
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			return err
		}
	} else {
		text(&b)
	}
	_, err := e.Out.Write(b.Bytes())
	return err
}

// consent is a part of commands that destroy something.
type consent struct{ yes bool }

// Flags implements Command.
func (c *consent) Flags(f *Flags) {
	f.Switch(&c.yes, "yes", "Do it without asking.")
}

// errNoConsent is the end of a command that nobody has agreed to.
var errNoConsent = errors.New("not done")

// obtain says what is going to happen, a sentence without its dot, and returns nil if somebody agrees.
func (c *consent) obtain(ctx context.Context, e *Env, plan string) error {
	fmt.Fprintf(e.Err, "%s.\n", plan)
	if c.yes {
		return nil
	}
	if e.Ask == nil {
		return fmt.Errorf("%w: there is nobody to ask; add -yes to do it", errNoConsent)
	}
	answer, err := e.Ask(ctx, "Type yes to go on: ")
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, ErrInterrupted):
		return errNoConsent
	case err != nil:
		return err
	case answer != "yes":
		return errNoConsent
	}
	return nil
}

// explain leaves of a server's refusal what it says itself.
func explain(err error) error {
	var refused *client.StatusError
	if errors.As(err, &refused) {
		return errors.New(refused.Message)
	}
	return err
}
