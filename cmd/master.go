package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/internal/blob"
	"weed/master"
)

// masterFlags are the flags of a master without those of nodeFlags. Their names begin with prefix: nothing, or
// "master." within `weed server`.
type masterFlags struct {
	prefix             string
	port               int
	mdir               string
	volumeSizeLimitMB  int
	defaultReplication string
	repairDelay        time.Duration
	garbageThreshold   float64
}

// maxVolumeSizeMB leaves room for the uploads that are under way when a volume reaches its limit: its format
// ends at 32 GiB.
const maxVolumeSizeMB = 32000

func (f *masterFlags) register(flags *pflag.FlagSet, prefix, mdir, mdirUsage string) {
	f.prefix = prefix
	flags.IntVar(&f.port, prefix+"port", 9333, "The `port` to listen on.")
	flags.StringVar(&f.mdir, prefix+"mdir", mdir, mdirUsage)
	flags.IntVar(&f.volumeSizeLimitMB, prefix+"volumeSizeLimitMB", 30000, "Assign no more files to a volume that has "+
		"reached so many `MB`.")
	flags.StringVar(&f.defaultReplication, prefix+"defaultReplication", "000", "The `xyz` of files whose writer names "+
		"none: x more copies in other data centers, y in other racks, z on other servers of the same rack.")
	flags.DurationVar(&f.repairDelay, prefix+"repairDelay", 10*time.Minute, "Make a missing copy of a volume again on "+
		"another server after this `time`, such as 90s, 10m or 2h.")
	flags.Float64Var(&f.garbageThreshold, prefix+"garbageThreshold", 0.3, "Free the room of deleted files in a volume of "+
		"which they take this `share`, above 0 and up to 1.")
}

// config checks the flags and turns them into a master.Config.
func (f *masterFlags) config(n node) (master.Config, error) {
	cfg := master.Config{
		Address: n.advertise(f.port), Bind: n.listen(f.port), MetaDir: f.mdir,
		Pulse: n.pulse, IdleTimeout: n.idle, Guard: n.guard, Version: Version(),
	}
	var errs [6]error
	errs[0] = checkPort(f.prefix+"port", f.port)
	if f.mdir == "" {
		errs[1] = fmt.Errorf("-%smdir: a directory is needed", f.prefix)
	}
	size, err := megabytes(f.prefix+"volumeSizeLimitMB", f.volumeSizeLimitMB, maxVolumeSizeMB)
	cfg.VolumeSizeLimitBytes, errs[2] = uint64(size), err
	if cfg.DefaultReplication, err = blob.ParsePlacement(f.defaultReplication); err != nil {
		errs[3] = fmt.Errorf("-%sdefaultReplication: %w", f.prefix, err)
	}
	if cfg.RepairDelay = f.repairDelay; f.repairDelay <= 0 {
		errs[4] = fmt.Errorf("-%srepairDelay: %v is not a time above 0", f.prefix, f.repairDelay)
	}
	if cfg.GarbageThreshold = f.garbageThreshold; !(f.garbageThreshold > 0 && f.garbageThreshold <= 1) {
		errs[5] = fmt.Errorf("-%sgarbageThreshold: %v is not a share above 0 and up to 1", f.prefix, f.garbageThreshold)
	}
	return cfg, errors.Join(errs[:]...)
}

func newMaster() *cobra.Command {
	var (
		common nodeFlags
		own    masterFlags
		peers  string
		conf   string
	)
	command := &cobra.Command{
		Use:   "master [flags]",
		Short: "Run a master, which says where files go and where they are.",
		Long: "Run a master. It assigns file ids, makes volumes on the volume servers when they are needed, and tells " +
			"clients which server has which volume. SIGTERM drains it.",
		Example: "weed master -port=9333 -mdir=./m1 -defaultReplication=000",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, nodeErr := common.parse()
			cfg, err := own.config(n)
			var peersErr error
			cfg.Peers, peersErr = parseAddresses("peers", peers)
			if err := errors.Join(nodeErr, err, peersErr); err != nil {
				return err
			}
			return serve(cmd, &common.profiles, func(ctx context.Context, logger *slog.Logger) error {
				if conf != "" {
					logger.Warn("-conf is ignored: data centers and racks come from the volume servers", "conf", conf)
				}
				server, err := master.New(cfg, master.Deps{Logger: logger})
				if err != nil {
					return err
				}
				return server.Run(ctx)
			})
		},
	}
	common.register(command.Flags())
	own.register(command.Flags(), "", "./data/master", "The `directory` of the master's own data, its Raft log and "+
		"snapshots; it is created.")
	command.Flags().StringVar(&peers, "peers", "", "A comma `list` of all masters of the cluster, this one too, each as "+
		"host:port; without it this one is alone.")
	command.Flags().StringVar(&conf, "conf", "", "A `file` that older setups name; it is ignored with a warning, because "+
		"data centers and racks come from the volume servers.")
	return command
}
