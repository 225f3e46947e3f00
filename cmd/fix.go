package cmd

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weed/storage"
)

func newFix() *cobra.Command {
	var at offlineFlags
	command := &cobra.Command{
		Use:   "fix [flags]",
		Short: "Rebuild the .idx file of a volume from its .dat file.",
		Long: "Rebuild the index file of a volume, be it missing or wrong, from its .dat file, which is read to its end and not " +
			"changed. Behind what is damaged it goes on at the next blob that is certainly one. It prints what it found and " +
			"each stretch that it had to leave out; the exit code is 1 if there is any. Until it is done the old file stays. A " +
			"server does the same by itself when it opens a volume of which the index file is missing.",
		Example: "weed fix -dir=./data -collection=pictures -volumeId=3",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.with(func(offline *storage.Offline) error {
				p := newProgress(cmd.ErrOrStderr(), "reading the log")
				fixed, err := offline.Fix(func(offset, length int64) error {
					p.at(offset, length)
					return cmd.Context().Err()
				})
				p.end()
				if err != nil {
					return err
				}
				return printFixed(cmd.OutOrStdout(), &fixed)
			})
		},
	}
	at.register(command.Flags(), offlineDirUsage)
	return command
}

// printFixed says what was found, and returns an error if something was lost.
func printFixed(w io.Writer, fixed *storage.Fixed) error {
	_, err := fmt.Fprintf(w, "%d bytes, %d puts, %d deletes, %d blobs live\n", fixed.LogBytes, fixed.Puts, fixed.Deletes, fixed.Live)
	for _, d := range fixed.Lost {
		if err == nil {
			_, err = fmt.Fprintf(w, "lost: %s\n", damageText(d))
		}
	}
	if err == nil && fixed.LostCount > len(fixed.Lost) {
		_, err = fmt.Fprintf(w, "lost: %d more\n", fixed.LostCount-len(fixed.Lost))
	}
	if err == nil && fixed.LostCount > 0 {
		err = fmt.Errorf("the index is rebuilt without %d bytes of the log in %d places, which hold no valid blob", fixed.LostBytes, fixed.LostCount)
	}
	return err
}

func damageText(d storage.Damage) string {
	return fmt.Sprintf("bytes %d to %d: %s", d.Offset, d.Offset+d.Length, d.Reason)
}
