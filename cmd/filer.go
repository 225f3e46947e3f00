package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/filer"
	filerstore "weed/filer/store"
	"weed/internal/blob"
)

// filerFlags are the flags of a filer without those of nodeFlags. Their names begin with prefix: nothing, or "filer."
// within `weed server`.
type filerFlags struct {
	prefix             string
	port               int
	collection         string
	defaultReplication string
	maxMB              int
	redirectOnRead     bool
	disableDirListing  bool
	dirListLimit       int
	claimTime          time.Duration
}

func (f *filerFlags) register(flags *pflag.FlagSet, prefix string) {
	f.prefix = prefix
	flags.IntVar(&f.port, prefix+"port", 8888, "The `port` to listen on.")
	flags.StringVar(&f.collection, prefix+"collection", "", "The `name` of the collection of files for which neither the "+
		"request nor a rule names one.")
	flags.StringVar(&f.defaultReplication, prefix+"defaultReplicaPlacement", "", "The copies of files for which neither the "+
		"request nor a rule says how many, as three `digits` xyz; by default the masters' default.")
	flags.IntVar(&f.maxMB, prefix+"maxMB", 4, "Cut files into chunks of so many `MB`.")
	flags.BoolVar(&f.redirectOnRead, prefix+"redirectOnRead", false, "Send readers of files of one chunk to the volume "+
		"server that has it.")
	flags.BoolVar(&f.disableDirListing, prefix+"disableDirListing", false, "Refuse to list directories.")
	flags.IntVar(&f.dirListLimit, prefix+"dirListLimit", filerstore.MaxListLimit, "The most `entries` on one page of a listing.")
	flags.DurationVar(&f.claimTime, prefix+"claimTime", 15*time.Minute, "What a filer that has died or stands still was uploading "+
		"is deleted by the others on its store after this `time`.")
}

// config checks the flags and turns them into a filer.Config.
func (f *filerFlags) config(n node, masters []string) (filer.Config, error) {
	cfg := filer.Config{
		Bind: n.listen(f.port), Masters: masters, Collection: f.collection, Replication: f.defaultReplication,
		RedirectOnRead: f.redirectOnRead, DisableDirListing: f.disableDirListing, DirListLimit: f.dirListLimit,
		IdleTimeout: n.idle, Guard: n.guard, Version: Version(),
	}
	errs := []error{checkPort(f.prefix+"port", f.port)}
	check := func(name string, err error) {
		if err != nil {
			errs = append(errs, &flagValueError{f.prefix + name, err})
		}
	}
	check("collection", blob.CheckCollection(f.collection))
	_, err := blob.ParsePlacement(f.defaultReplication)
	check("defaultReplicaPlacement", err)
	cfg.ChunkBytes, err = megabytes(f.prefix+"maxMB", f.maxMB, 256)
	errs = append(errs, err)
	if f.dirListLimit < 1 || f.dirListLimit > filerstore.MaxListLimit {
		check("dirListLimit", errors.New("give a number from 1 to 10000"))
	}
	if cfg.ClaimTime = f.claimTime; f.claimTime < time.Second {
		check("claimTime", fmt.Errorf("%v is not a time from 1s on", f.claimTime))
	}
	return cfg, errors.Join(errs...)
}

// flagValueError says that the value of a flag makes no sense.
type flagValueError struct {
	name string
	err  error
}

func (e *flagValueError) Error() string { return "-" + e.name + ": " + e.err.Error() }
func (e *flagValueError) Unwrap() error { return e.err }

func newFiler() *cobra.Command {
	var (
		common  nodeFlags
		own     filerFlags
		stores  storeFlags
		masters string
	)
	command := &cobra.Command{
		Use:   "filer [flags]",
		Short: "Run a filer, which gives blobs paths in a tree of directories.",
		Long: "Run a filer. It keeps a tree of directories and files of any size, cut into chunks that are blobs on the " +
			"volume servers, and serves it over HTTP. The tree itself is kept in the directory of -dir, or in a Redis server or a " +
			"Cassandra cluster, which several filers may share. SIGTERM drains it.",
		Example: "weed filer -port=8888 -dir=./f1 -master=localhost:9333\n" +
			"weed filer -port=8889 -redis.server=localhost:6379 -master=localhost:9333\n" +
			"weed filer -port=8889 -cassandra.server=10.0.0.1,10.0.0.2 -cassandra.createSchema",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, nodeErr := common.parse()
			list, mastersErr := parseMasters("master", masters)
			cfg, err := own.config(n, list)
			if err := errors.Join(nodeErr, mastersErr, err, stores.check()); err != nil {
				return err
			}
			return serve(cmd, &common.profiles, func(ctx context.Context, logger *slog.Logger) error {
				return runFiler(ctx, cfg, &stores, logger)
			})
		},
	}
	common.register(command.Flags())
	own.register(command.Flags(), "")
	stores.register(command.Flags(), "", "./filer", "The `directory` that holds the tree, if no "+
		"server is to keep it; it is created.")
	command.Flags().StringVar(&masters, "master", "localhost:9333", "A comma `list` of the masters, each as host:port; "+
		"any of them will do.")
	return command
}

// runFiler opens the store and runs a filer on it until ctx ends.
func runFiler(ctx context.Context, cfg filer.Config, stores *storeFlags, logger *slog.Logger) error {
	s, alone, err := stores.open(ctx, logger)
	if err != nil {
		return err
	}
	cfg.Alone = alone
	server, err := filer.New(cfg, filer.Deps{Store: s, Logger: logger})
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return errors.Join(server.Run(ctx), s.Close())
}
