package cmd

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the column at which help text wraps.
const helpWidth = 96

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Show what a command does and which flags it takes.",
		Long:    "Show what a command does and which flags it takes; without a command, list the commands.",
		Example: "weed help volume",
		RunE: func(cmd *cobra.Command, args []string) error {
			target := cmd.Root()
			for _, name := range args {
				sub := subcommand(target, name)
				switch {
				case sub != nil:
					target = sub
				case target.HasSubCommands():
					return unknownCommand(target, name)
				default:
					return usageErrorf("unexpected argument %q", name)
				}
			}
			return writeHelp(cmd.OutOrStdout(), target)
		},
	}
}

// writeHelp prints a command's page: what it does, an example, its flags with one dash.
func writeHelp(w io.Writer, cmd *cobra.Command) error {
	var page bytes.Buffer
	fmt.Fprintf(&page, "Usage: %s\n\n", usageLine(cmd))
	writeWrapped(&page, "", cmd.Long)
	if cmd.HasSubCommands() {
		page.WriteString("\nCommands:\n")
		for _, name := range commandNames(cmd) {
			fmt.Fprintf(&page, "  %-10s %s\n", name, subcommand(cmd, name).Short)
		}
	}
	if cmd.Example != "" {
		page.WriteString("\nExample:\n")
		for line := range strings.Lines(cmd.Example) {
			fmt.Fprintf(&page, "  %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if flags := cmd.LocalNonPersistentFlags(); hasFlags(flags) {
		page.WriteString("\nFlags:\n")
		writeFlags(&page, flags)
	}
	page.WriteString("\nLogging flags, before or after the command:\n")
	writeFlags(&page, cmd.Root().PersistentFlags())
	if cmd.HasSubCommands() {
		page.WriteString("\n\"weed help command\" shows the flags of a command.\n")
	}
	_, err := w.Write(page.Bytes())
	return err
}

func usageLine(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return cmd.Use
	}
	return cmd.Parent().CommandPath() + " " + cmd.Use
}

// hasFlags reports whether there is a flag besides the help flag, which cobra adds to every command.
func hasFlags(flags *pflag.FlagSet) bool {
	found := false
	flags.VisitAll(func(flag *pflag.Flag) { found = found || flag.Name != "help" })
	return found
}

func writeFlags(w io.Writer, flags *pflag.FlagSet) {
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name == "help" {
			return
		}
		kind, text := pflag.UnquoteUsage(flag)
		fmt.Fprintf(w, "  -%s", flag.Name)
		if kind != "" {
			fmt.Fprintf(w, " %s", kind)
		}
		if flag.DefValue != "" && !(isBool(flag) && flag.DefValue == "false") {
			fmt.Fprintf(w, "  (default %s)", flag.DefValue)
		}
		fmt.Fprintln(w)
		writeWrapped(w, "        ", text)
	})
}

// writeWrapped prints text in lines of at most helpWidth columns behind indent.
func writeWrapped(w io.Writer, indent, text string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > helpWidth {
			fmt.Fprintln(w, line)
			line = indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(w, line)
}
