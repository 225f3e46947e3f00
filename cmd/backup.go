package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// backupTries is how often a volume may be compacted while it is copied.
const backupTries = 3

func newBackup() *cobra.Command {
	var (
		at      offlineFlags
		masters string
	)
	command := &cobra.Command{
		Use:   "backup [flags]",
		Short: "Copy a volume of a running cluster into a directory, or bring such a copy up to date.",
		Long: "Copy a volume of a running cluster into -dir: all of it at first, later only what was added. Every blob is " +
			"verified as it arrives. What is there from before is compared with the server's log; if that is another one, " +
			"because the volume was compacted or made anew, all of it is copied again, and until that is done the old copy " +
			"stays. A call that is broken off is gone on with by the next one. The directory can be served by weed volume -dir, " +
			"read by weed export, and backed up into again after that. Volumes may share a directory, one call at a time.",
		Example: "weed backup -server=localhost:9333 -dir=./backup -collection=pictures -volumeId=3",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := at.id()
			if err != nil {
				return err
			}
			return withClient(masters, func(c *client.Client) error { return backup(cmd, c, &at, id) })
		},
	}
	flags := command.Flags()
	registerServer(flags, &masters)
	at.register(flags, "The `directory` that the copy is in; it is created. No server may have it open.")
	return command
}

func backup(cmd *cobra.Command, c *client.Client, at *offlineFlags, id blob.VolumeID) (err error) {
	mirror, err := storage.OpenMirror(vfs.OS, at.dir, at.collection, id, storage.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mirror.Close()) }()
	p := newProgress(cmd.ErrOrStderr(), "copying")
	var done storage.Mirrored
	for try := 1; ; try++ {
		done, err = backupOnce(cmd.Context(), c, at, id, mirror, p)
		if err == nil || try == backupTries || !errors.Is(err, storage.ErrCompacted) {
			break
		}
	}
	p.end()
	if err != nil {
		return err
	}
	what := "what was new"
	if done.Full {
		what = "all of it: " + done.Reason
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "volume %d: %d bytes, of which %d were copied now (%s)\n", id, done.Length, done.Bytes, what)
	return err
}

// backupOnce copies from the log as it is now. Of a record that one server has damaged another one may have a good copy.
func backupOnce(ctx context.Context, c *client.Client, at *offlineFlags, id blob.VolumeID, mirror *storage.Mirror, p *progress) (storage.Mirrored, error) {
	log, err := c.OpenVolumeLog(ctx, uint32(id), at.collection)
	if err != nil {
		return storage.Mirrored{}, err
	}
	remote := storage.RemoteLog{Length: log.Length, Read: func(b []byte, offset int64) error {
		err := log.Read(ctx, b, offset)
		if errors.Is(err, client.ErrCompacted) {
			return storage.ErrCompacted
		}
		return err
	}}
	for tried := 1; ; tried++ {
		done, err := mirror.Update(&remote, func(offset int64) { p.at(offset, log.Length) })
		if err == nil || !errors.Is(err, storage.ErrCorrupt) {
			return done, err
		}
		if tried >= len(log.Servers()) {
			return done, fmt.Errorf("%w: the server's copy is damaged there; weed shell -c \"volume.check -scrub %d\" tells of it; what comes before is kept",
				err, id)
		}
		log.Avoid()
	}
}
