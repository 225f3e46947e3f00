package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker: -ldflags "-X weed/cmd.version=v1.2.3".
var version string

// Version returns the version of this build: what the linker was told, else what Go knows of the module.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version.",
		Long:    "Print the version of weed, of the Go that built it, and the system that it was built for.",
		Example: "weed version",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "weed %s %s %s/%s\n",
				Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
