package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/benchmark"
	"weed/internal/blob"
)

// registerMasters adds -server and its other name -master; the one that is typed last counts.
func registerMasters(flags *pflag.FlagSet, list *string) {
	flags.StringVar(list, "server", "localhost:9333", "A comma `list` of the masters, each as host:port; any of them will do.")
	flags.StringVar(list, "master", "localhost:9333", "Another name of -server; it takes the same `list`.")
}

func newBenchmark() *cobra.Command {
	var (
		cfg      benchmark.Config
		masters  string
		profiles profileFlags
	)
	command := &cobra.Command{
		Use:   "benchmark [flags]",
		Short: "Write and read files, and print how fast that was.",
		Long: "Write files, then read them at random, and print rates and latencies. Every byte that is read is compared. " +
			"The exit code is 1 when a request has failed.",
		Example: "weed benchmark -server=localhost:9333 -n=100000 -c=16 -size=1024",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Masters, err = parseMasters("server", masters); err != nil {
				return err
			}
			if err := checkBenchmark(cfg); err != nil {
				return err
			}
			raiseFileLimit(newLogger(), uint64(2*cfg.Concurrency)+64)
			return profiles.during(func() error {
				_, err := benchmark.Run(cmd.Context(), cfg, cmd.OutOrStdout())
				return err
			})
		},
	}
	flags := command.Flags()
	registerMasters(flags, &masters)
	flags.IntVar(&cfg.Concurrency, "c", 16, "The `number` of requests under way at once.")
	flags.IntVar(&cfg.Size, "size", 1024, "The size of a file in `bytes`, to which 0 to 63 random ones are added.")
	flags.IntVar(&cfg.N, "n", 1<<20, "The `number` of files to write, and of reads.")
	flags.StringVar(&cfg.ListFile, "list", "", "Write the ids of the files to this `file`, or read those that are in it "+
		"when -write=false.")
	flags.BoolVar(&cfg.Write, "write", true, "Write files; with -write=false only those of -list are read.")
	flags.BoolVar(&cfg.Read, "read", true, "Read the files that were just written, or those of -list.")
	flags.BoolVar(&cfg.Sequential, "readSequentially", false, "Read each file once, in the order of writing, instead of at "+
		"random.")
	flags.IntVar(&cfg.DeletePercent, "deletePercent", 0, "Delete so many `percent` of the files between writing and reading; "+
		"reading one of them must then fail.")
	flags.StringVar(&cfg.Collection, "collection", "benchmark", "The `name` of the collection to write to; deleting it "+
		"afterwards frees the space.")
	flags.StringVar(&cfg.Replication, "replication", "", "The `xyz` of the copies to write, by default what the masters say.")
	flags.BoolVar(&cfg.JSON, "json", false, "Print one JSON object at the end instead of text.")
	profiles.registerCPU(flags)
	return command
}

// checkBenchmark refuses numbers for which benchmark.Config would take its defaults.
func checkBenchmark(cfg benchmark.Config) error {
	for _, f := range []struct {
		name  string
		value int
	}{{"c", cfg.Concurrency}, {"size", cfg.Size}, {"n", cfg.N}} {
		if f.value < 1 {
			return fmt.Errorf("-%s: %d is not a number from 1 on", f.name, f.value)
		}
	}
	if _, err := blob.ParsePlacement(cfg.Replication); err != nil {
		return fmt.Errorf("-replication: %w", err)
	}
	return nil
}
