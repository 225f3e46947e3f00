package cmd

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/client"
	"weed/client/files"
	"weed/internal/blob"
)

// maxChunkMB is the largest -maxMB: a volume server takes no larger file, whatever its flags.
const maxChunkMB = 2047

func newUpload() *cobra.Command {
	var (
		cfg     files.UploadConfig
		masters string
	)
	command := &cobra.Command{
		Use:   "upload [flags] [file...]",
		Short: "Store files, or those of a directory.",
		Long: "Store files, and those of -dir with all directories below, and print a JSON array of what became of each: " +
			"fileName, fileUrl, fid, size, and error if it failed. When one fails the others are stored all the same, and " +
			"the exit code is 1.",
		Example: "weed upload -dir=./pictures -include='*.jpg' -collection=pictures",
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.Files = args; len(args) == 0 && cfg.Dir == "" {
				return usageErrorf("name files, or a directory with -dir")
			}
			if err := checkUpload(cfg); err != nil {
				return err
			}
			return withClient(masters, func(c *client.Client) error {
				results, err := files.Upload(cmd.Context(), c, cfg)
				return printResults(cmd.OutOrStdout(), results, err)
			})
		},
	}
	flags := command.Flags()
	registerServer(flags, &masters)
	flags.StringVar(&cfg.Dir, "dir", "", "Store the regular files of this `directory` and of those below it.")
	flags.StringVar(&cfg.Include, "include", "", "Store only the files of -dir whose names match this `pattern`, such as "+
		"*.jpg; quote it for the shell.")
	flags.StringVar(&cfg.Replication, "replication", "", "The `xyz` of the copies, by default what the masters say.")
	flags.StringVar(&cfg.Collection, "collection", "", "The `name` of the collection to write to.")
	flags.StringVar(&cfg.TTL, "ttl", "", "The `time` to live, such as 3m, 4h, 5d, 6w, 7M, 8y; by default for ever.")
	flags.IntVar(&cfg.MaxMB, "maxMB", 32, "Cut a file of more than so many `MB` into chunks of that size; 0 never cuts.")
	return command
}

// checkUpload refuses what no master would take, before the first file is opened.
func checkUpload(cfg files.UploadConfig) error {
	if _, err := blob.ParsePlacement(cfg.Replication); err != nil {
		return fmt.Errorf("-replication: %w", err)
	}
	if err := blob.CheckCollection(cfg.Collection); err != nil {
		return fmt.Errorf("-collection: %w", err)
	}
	if _, err := blob.ParseTTL(cfg.TTL); err != nil {
		return fmt.Errorf("-ttl: %w", err)
	}
	if _, err := filepath.Match(cfg.Include, ""); err != nil {
		return fmt.Errorf("-include: %q is not a pattern", cfg.Include)
	}
	if cfg.Include != "" && cfg.Dir == "" {
		return errors.New("-include: it chooses files of -dir, which is missing")
	}
	if cfg.MaxMB < 0 || cfg.MaxMB > maxChunkMB {
		return fmt.Errorf("-maxMB: %d is not a size in MB from 0 to %d", cfg.MaxMB, maxChunkMB)
	}
	return nil
}

// registerServer adds -server.
func registerServer(flags *pflag.FlagSet, list *string) {
	flags.StringVar(list, "server", "localhost:9333", "A comma `list` of the masters, each as host:port; any of them will do.")
}

// withClient calls do with a client of the masters that -server lists.
func withClient(masters string, do func(*client.Client) error) error {
	addresses, err := parseMasters("server", masters)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Masters: addresses})
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// printResults prints what became of each file, also when err says that some have failed. Without results
// nothing was tried, and there is nothing to print.
func printResults[T any](out io.Writer, results []T, err error) error {
	if err != nil && results == nil {
		return err
	}
	return errors.Join(err, files.Print(out, results))
}
