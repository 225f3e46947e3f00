// Package shell is what `weed shell` does: it reads commands such as `volume.list -collection=pictures`, runs
// them against a cluster, and prints tables for people or JSON for scripts.
//
// It owns the syntax of a line, the commands, their help, their completion, and the editing of lines in a
// terminal. It refuses to reach a server but through package client, and to destroy anything that nobody has
// agreed to: such a command says what it will do, and goes on with -yes or after a question.
//
// Invariants:
//   - A line is checked as a whole, every command and every flag of it, before the first command runs.
//   - A script ends with the first command that fails.
//   - What a command found out goes to Out; questions, plans and complaints go to Err.
//   - What -json prints is one JSON value in one line, and only ever gains fields.
//
// # Adding a command
//
// A noun is a file. A command is a small struct with its flags as fields, which implements Command, and a Spec
// in the noun's list, which catalogue (shell.go) joins:
//
//	type serverDrain struct {
//		output
//		server string
//	}
//
//	func (c *serverDrain) Flags(f *Flags)                        { c.output.Flags(f) }
//	func (c *serverDrain) Check(args []string) (err error)       { c.server, err = oneArg(args, "a server"); return err }
//	func (c *serverDrain) Run(ctx context.Context, e *Env) error { … }
//
// # Use
//
//	sh := shell.New(shell.Config{Client: c, Out: os.Stdout, Err: os.Stderr})
//	err := sh.Run(ctx, "volume.list -json; server.list") // errors.Is(err, shell.ErrUsage): nothing was run
//	err = sh.RunLines(ctx, os.Stdin)                     // a script in a pipe
//	err = sh.Interact(ctx, terminal, interrupts)         // a person
package shell
