// Package cmd is the command line of weed: it turns flags into the Config of a server or a tool, calls New
// and Run, and reports how that went. It owns what belongs to the process as a whole: flags, glog, signals,
// profiles, the limit of open files, exit codes. It holds no logic of the store, and nothing imports it but
// main.
//
//	func main() { os.Exit(cmd.Execute(os.Args[1:], os.Stdout, os.Stderr)) }
//
// # Adding a command
//
// A command is one file with one function, listed in newRoot, which returns a *cobra.Command with Use,
// Short, Long, Example, flags and RunE. RunE reads the flags into a Config (values.go has the checks, each of
// which names the flag in its error), takes the context from cmd.Context() and returns an error; it neither
// prints that error nor exits. Servers wrap the rest in serve, which adds profiles and the file limit.
//
// # Invariants
//
//   - Flags take one dash or two. What is not a flag of the command is refused with a suggestion, never
//     ignored (args.go rewrites the arguments before cobra sees them).
//   - Exit codes: 0 done; 1 failed, with one line on stderr; 2 the command line is not one that the command
//     takes; 128+n ended by signal n.
//   - The first SIGINT or SIGTERM cancels the context, which drains; the second exits at once.
//   - What a tool has to say goes to stdout. Logs and errors go to stderr.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/golang/glog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// Execute runs the command line args (without the program's name) and returns the exit code. It returns when
// the command has ended, unless a second signal ends the process first.
func Execute(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signalContext(context.Background())
	defer stop()
	defer glog.Flush()

	root := newRoot()
	root.SetOut(stdout)
	root.SetErr(stderr)
	var helpErr error // of -h, for which cobra knows no failure
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { helpErr = writeHelp(cmd.OutOrStdout(), cmd) })
	command, args, err := normalise(root, args)
	if err == nil {
		root.SetArgs(args)
		command, err = root.ExecuteContextC(ctx)
		err = errors.Join(err, helpErr)
	}
	return report(ctx, stderr, command, err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "weed command [flags] [arguments]",
		Short: "A store for billions of small files.",
		Long: "A store for billions of small files. Masters know which server holds which volume; volume servers " +
			"keep the files, each read with one disk access.",
		Example: "weed server -dir=./data\n" +
			"curl -F file=@hello.txt http://localhost:9333/submit",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageErrorf("a command is needed: one of %s", strings.Join(commandNames(cmd), ", "))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return startLogging(cmd.Flags()) },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().SortFlags = true
	addLogFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SetHelpCommand(newHelp())
	root.AddCommand(newMaster(), newVolume(), newFiler(), newServer(), newBenchmark(),
		newUpload(), newDownload(), newDelete(), newBackup(), newCompact(), newExport(), newFix(), newShell(), newFilerCopy(), newVersion())
	root.InitDefaultHelpCmd()
	return root
}

// usageError is a command line that the command does not take, as opposed to a command that failed.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usageErrorf(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// flagError rewrites what pflag says about a value into one line that spells the flag as the user did.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return &usageError{text: err.Error()}
	}
	name, value := invalid.GetFlag().Name, invalid.GetValue()
	switch invalid.GetFlag().Value.Type() {
	case "int", "int64", "uint":
		return fmt.Errorf("-%s: %q is not a whole number", name, value)
	case "float64":
		return fmt.Errorf("-%s: %q is not a number", name, value)
	case "bool":
		return fmt.Errorf("-%s: %q is neither true nor false", name, value)
	case "duration":
		return fmt.Errorf("-%s: %q is no time, such as 90s, 10m or 2h", name, value)
	case "severity":
		return fmt.Errorf("-%s: %q is none of INFO, WARNING, ERROR, FATAL", name, value)
	}
	return fmt.Errorf("-%s: %q: %w", name, value, invalid.Unwrap())
}

// report writes err, if there is one, as one line and chooses the exit code.
func report(ctx context.Context, stderr io.Writer, command *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	var signal *signalError
	if errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &signal) {
		fmt.Fprintf(stderr, "%s: %v\n", command.CommandPath(), signal)
		return signal.exitCode()
	}
	fmt.Fprintf(stderr, "%s: %s\n", command.CommandPath(), strings.ReplaceAll(err.Error(), "\n", "; "))
	var usage *usageError
	if !errors.As(err, &usage) {
		return exitFailure
	}
	help := "weed help"
	if command.HasParent() && command.Name() != "help" {
		help += " " + command.Name()
	}
	fmt.Fprintf(stderr, "%q shows what it takes.\n", help)
	return exitUsage
}
