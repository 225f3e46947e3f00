package cmd

import (
	"github.com/spf13/cobra"

	"weed/client"
	"weed/client/files"
)

func newDownload() *cobra.Command {
	var (
		cfg     files.DownloadConfig
		masters string
	)
	command := &cobra.Command{
		Use:   "download [flags] fid...",
		Short: "Read files into a directory.",
		Long: "Read files into -dir, each under the name that it was stored with, or under its id where that name is no " +
			"plain file name or is taken by another one of the call; a file of that name from before is replaced. It prints " +
			"a JSON array of what became of each: fid, fileName, size, and error if it failed. When one fails the others are " +
			"read all the same, and the exit code is 1.",
		Example: "weed download -dir=./copies 3,01637037d6",
		Args:    needFIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.FIDs = args
			return withClient(masters, func(c *client.Client) error {
				results, err := files.Download(cmd.Context(), c, cfg)
				return printResults(cmd.OutOrStdout(), results, err)
			})
		},
	}
	flags := command.Flags()
	registerServer(flags, &masters)
	flags.StringVar(&cfg.Dir, "dir", ".", "The `directory` that the files go to; it is created.")
	return command
}

// needFIDs refuses a command line without file ids.
func needFIDs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageErrorf("a fid is needed, such as 3,01637037d6")
	}
	return nil
}
