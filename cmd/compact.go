package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"weed/storage"
)

func newCompact() *cobra.Command {
	var at offlineFlags
	command := &cobra.Command{
		Use:   "compact [flags]",
		Short: "Give back the room of deleted and expired files in a volume that no server has open.",
		Long: "Write a volume anew without the files that were deleted or replaced, or have outlived their ttl. What is left is " +
			"verified and copied as it is, so as much room as that takes is needed beside the old files, which stay until the " +
			"new ones are complete: it may be interrupted at any time. A volume that is damaged is refused.",
		Example: "weed compact -dir=./data -collection=pictures -volumeId=3",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.with(func(offline *storage.Offline) error {
				p := newProgress(cmd.ErrOrStderr(), "compacting")
				done, err := offline.Compact(func(copied, most int64) error {
					p.at(copied, most)
					return cmd.Context().Err()
				})
				p.end()
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "volume %d: %d bytes became %d, with %d blobs\n", at.volumeID, done.Before, done.After, done.Live)
				return err
			})
		},
	}
	at.register(command.Flags(), offlineDirUsage)
	return command
}
