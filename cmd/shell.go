package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"weed/client"
	"weed/client/filer"
	"weed/internal/shell"
)

// orderPatience is how long a master may work on one order: that many volumes may have to be made or deleted.
const orderPatience = 10 * time.Minute

func newShell() *cobra.Command {
	var masters, filerAddress, script string
	command := &cobra.Command{
		Use:   "shell [flags]",
		Short: "Look at a cluster and change it, by commands that are typed, piped in or given with -c.",
		Long: "Look at a cluster and change it. On a terminal it asks for commands, with editing, completion by Tab and " +
			"a history; otherwise it reads them line by line from standard input, and ends with the first that fails. " +
			"\"weed shell -c help\" lists the commands. What destroys something needs -yes where there is no terminal to ask.",
		Example: "weed shell -c \"volume.list -json\"",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("unexpected argument %q; commands are given as one text: -c \"%s\"", args[0], args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			addresses, err := parseMasters("master", masters)
			if err != nil {
				return err
			}
			c, err := client.New(client.Config{Masters: addresses, IOTimeout: orderPatience})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			if err := checkHostPort("filer", filerAddress); err != nil {
				return err
			}
			fs, err := filer.New(filer.Config{Address: filerAddress})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, fs.Close()) }()
			cfg := shell.Config{Client: c, Filer: fs, Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr(), Nearest: nearest}
			if cmd.Flags().Changed("c") {
				err = runScript(cmd.Context(), cfg, script)
			} else if shell.IsTerminal() {
				err = interact(cmd.Context(), cfg)
			} else {
				err = shell.New(cfg).RunLines(cmd.Context(), cmd.InOrStdin())
			}
			if errors.Is(err, shell.ErrUsage) {
				return &usageError{text: err.Error()}
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&masters, "master", "localhost:9333", "A comma `list` of the masters, each as host:port; any of them will do.")
	flags.StringVar(&filerAddress, "filer", "localhost:8888", "The `host:port` of the filer whose tree the fs commands are about.")
	flags.StringVar(&script, "c", "", "Run these `commands`, separated by semicolons, instead of reading any.")
	return command
}

// runScript runs the commands of -c. Questions are asked where somebody sees them.
func runScript(ctx context.Context, cfg shell.Config, script string) error {
	if shell.IsTerminal() {
		cfg.Ask = func(question string) (answer string, err error) {
			terminal := shell.NewTerminal(nil)
			defer func() { err = errors.Join(err, terminal.Close()) }()
			return terminal.Line(question)
		}
	}
	return shell.New(cfg).Run(ctx, script)
}

// interact runs what is typed. Ctrl-C ends the command that runs, not the shell.
func interact(ctx context.Context, cfg shell.Config) (err error) {
	interrupts := make(chan os.Signal, 1)
	signal.Reset(os.Interrupt) // Execute would take it for an order to stop
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	var sh *shell.Shell
	terminal := shell.NewTerminal(func(line string, pos int) (string, []string, string) {
		return sh.Complete(ctx, line, pos)
	})
	defer func() { err = errors.Join(err, terminal.Close()) }()
	cfg.Ask = terminal.Line
	sh = shell.New(cfg)

	save := openHistory(terminal, cfg.Err)
	defer save()
	fmt.Fprintln(cfg.Out, "\"help\" lists the commands, Tab completes them, \"exit\" or Ctrl-D leaves.")
	return sh.Interact(ctx, terminal, interrupts)
}

// openHistory calls back what was typed in earlier sessions, and returns what keeps it for later ones. Without
// a history the shell works all the same, so a complaint is all that a failure comes to.
func openHistory(terminal *shell.Terminal, complaints io.Writer) (save func()) {
	warn := func(err error) {
		if err != nil {
			fmt.Fprintln(complaints, "weed shell:", err)
		}
	}
	path, err := shell.HistoryFile()
	if err == nil {
		err = terminal.LoadHistory(path)
	}
	if err != nil {
		warn(err)
		return func() {}
	}
	return func() { warn(terminal.SaveHistory(path)) }
}
