package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// normalise rewrites Go-style arguments into the one form that pflag reads without guessing, and finds the
// command that they call (root when they call none). For every known flag:
//
//	-name=value  --name=value  -name value  --name value   ->   --name=value
//	-switch      --switch                                  ->   --switch=true
//
// A flag that is no boolean takes the next argument whatever that looks like, so negative numbers need no
// care; a boolean never does. Flags may stand behind positional arguments. Everything from "--" on is left
// alone. Flags of a command stand behind its name, those of the root anywhere.
func normalise(root *cobra.Command, args []string) (*cobra.Command, []string, error) {
	command := root
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return command, append(out, args[i:]...), nil
		case len(arg) < 2 || arg[0] != '-': // "-" alone is a positional argument
			if command.HasSubCommands() {
				sub := subcommand(command, arg)
				if sub == nil {
					return command, nil, unknownCommand(command, arg)
				}
				command = sub
			}
			out = append(out, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "h" || name == "help" {
			out = append(out, "--help")
			continue
		}
		flag := findFlag(command, name)
		if flag == nil {
			return command, nil, unknownFlag(command, name)
		}
		if !hasValue {
			switch {
			case isBool(flag):
				value = "true"
			case i+1 < len(args):
				i++
				value = args[i]
			default:
				return command, nil, usageErrorf("-%s needs a value", name)
			}
		}
		out = append(out, "--"+name+"="+value)
	}
	return command, out, nil
}

func isBool(flag *pflag.Flag) bool { return flag.Value.Type() == "bool" }

// subcommand returns the child of that name, nil if there is none.
func subcommand(parent *cobra.Command, name string) *cobra.Command {
	for _, child := range parent.Commands() {
		if child.Name() == name || child.HasAlias(name) {
			return child
		}
	}
	return nil
}

// findFlag returns a flag of the command or one that it inherits.
func findFlag(command *cobra.Command, name string) *pflag.Flag {
	if name == "" {
		return nil
	}
	for _, flags := range flagSets(command) {
		if flag := flags.Lookup(name); flag != nil {
			return flag
		}
	}
	return nil
}

// flagSets returns the command's own flags and those that it shares with others.
func flagSets(command *cobra.Command) []*pflag.FlagSet {
	return []*pflag.FlagSet{command.Flags(), command.Root().PersistentFlags()}
}

func unknownFlag(command *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown flag -%s", name)
	if near := nearest(name, flagNames(command)); near != "" {
		return usageErrorf("%s; did you mean -%s?", text, near)
	}
	var owners []string
	for _, other := range command.Root().Commands() {
		if findFlag(other, name) != nil {
			owners = append(owners, other.Name())
		}
	}
	switch {
	case len(owners) > 0 && !command.HasParent():
		return usageErrorf("%s; flags of a command stand behind its name (%s)", text, strings.Join(owners, ", "))
	case len(owners) > 0:
		return usageErrorf("%s; %s has it", text, strings.Join(owners, ", "))
	}
	return usageErrorf("%s", text)
}

func unknownCommand(parent *cobra.Command, name string) error {
	names := commandNames(parent)
	if near := nearest(name, names); near != "" {
		return usageErrorf("unknown command %q; did you mean %q?", name, near)
	}
	return usageErrorf("unknown command %q; there are %s", name, strings.Join(names, ", "))
}

func commandNames(parent *cobra.Command) []string {
	var names []string
	for _, child := range parent.Commands() {
		if child.IsAvailableCommand() || child.Name() == "help" {
			names = append(names, child.Name())
		}
	}
	slices.Sort(names)
	return names
}

func flagNames(command *cobra.Command) []string {
	var names []string
	for _, flags := range flagSets(command) {
		flags.VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	}
	return names
}

// noArgs refuses positional arguments. The usual cause is a boolean written as two words.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if args[0] == "true" || args[0] == "false" {
		return usageErrorf("unexpected argument %q; the value of a switch is written -name=%s", args[0], args[0])
	}
	return usageErrorf("unexpected argument %q", args[0])
}
