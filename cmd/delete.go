package cmd

import (
	"github.com/spf13/cobra"

	"weed/client"
	"weed/client/files"
)

func newDelete() *cobra.Command {
	var masters string
	command := &cobra.Command{
		Use:   "delete [flags] fid...",
		Short: "Delete files.",
		Long: "Delete files, and print a JSON array of what became of each: fid, size, status, and error if it failed. " +
			"When one fails the others are deleted all the same, and the exit code is 1; one that is not there has failed, " +
			"with status 404.",
		Example: "weed delete 3,01637037d6",
		Args:    needFIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withClient(masters, func(c *client.Client) error {
				results, err := files.Delete(cmd.Context(), c, args)
				return printResults(cmd.OutOrStdout(), results, err)
			})
		},
	}
	registerServer(command.Flags(), &masters)
	return command
}
