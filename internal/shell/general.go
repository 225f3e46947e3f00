package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

var generalCommands = []Spec{
	{
		Name: "help", Args: "[command]", Short: "List the commands, or say what one does.",
		Example: "help volume.list", Complete: completeCommands,
		New: func() Command { return new(help) },
	},
	{
		Name: "exit", Short: "Leave the shell.",
		Example: "exit",
		New:     func() Command { return new(exit) },
	},
}

type help struct{ name string }

func (c *help) Flags(*Flags) {}

func (c *help) Check(args []string) error {
	if len(args) > 1 {
		return usageErrorf("unexpected argument %q", args[1])
	}
	if len(args) == 1 {
		c.name = args[0]
	}
	return nil
}

func (c *help) Run(_ context.Context, e *Env) error {
	sh := e.shell
	var page strings.Builder
	if c.name == "" {
		sh.listCommands(&page)
	} else if spec := sh.find(c.name); spec != nil {
		spec.describe(&page)
	} else { // a complaint of Run is none about the line
		return errors.New(unknown("command", "", c.name, sh.names(), sh.nearest).Error())
	}
	_, err := io.WriteString(e.Out, page.String())
	return err
}

func (s *Shell) listCommands(w io.Writer) {
	for _, spec := range s.specs {
		fmt.Fprintf(w, "%-18s %s\n", spec.Name, spec.Short)
	}
	fmt.Fprint(w, "\nSeveral commands in a line are separated by semicolons. \"help command\" says more.\n")
}

// describe writes the page of a command.
func (s *Spec) describe(w io.Writer) {
	var flags Flags
	s.New().Flags(&flags)
	line := s.Name
	if len(flags.list) > 0 {
		line += " [flags]"
	}
	if s.Args != "" {
		line += " " + s.Args
	}
	fmt.Fprintf(w, "%s\n\n%s\n", line, s.Short)
	if s.Long != "" {
		fmt.Fprintln(w, s.Long)
	}
	fmt.Fprintf(w, "\nExample:\n  %s\n", s.Example)
	for i, f := range flags.list {
		if i == 0 {
			fmt.Fprint(w, "\nFlags:\n")
		}
		name := "-" + f.name
		if f.value != "" {
			name += "=" + f.value
		}
		fmt.Fprintf(w, "  %-24s %s\n", name, f.usage)
	}
}

func completeCommands(_ context.Context, e *Env) ([]string, error) { return e.shell.names(), nil }

type exit struct{ noArgs }

func (c *exit) Flags(*Flags) {}

func (c *exit) Run(context.Context, *Env) error { return errExit }
