package cmd

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/internal/httpx"
	"weed/master"
	"weed/volume"
)

func newServer() *cobra.Command {
	var (
		common  nodeFlags
		masters masterFlags
		volumes volumeFlags
		filers  filerFlags
		stores  storeFlags
		dirs    string
		isFiler bool
	)
	command := &cobra.Command{
		Use:   "server [flags]",
		Short: "Run a master, a volume server and, with -filer, a filer in one process.",
		Long: "Run a master, a volume server and, with -filer, a filer in one process: a whole store for one machine. " +
			"Flags of one of them begin with its name. SIGTERM drains all.",
		Example: "weed server -dir=./data -volume.max=20",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if common.whiteList != "" { // the two halves talk to each other over this address
				common.whiteList += "," + common.ip
			}
			n, nodeErr := common.parse()
			paths := splitList(dirs)
			if masters.mdir == "" && len(paths) > 0 {
				masters.mdir = filepath.Join(paths[0], "master")
			}
			m, masterErr := masters.config(n)
			v, volumeErr := volumes.config(n, dirs, []string{m.Address})
			f, filerErr := filers.config(n, []string{m.Address})
			if stores.dir == "" && len(paths) > 0 {
				stores.dir = filepath.Join(paths[0], "filer")
			}
			if filerErr == nil && isFiler {
				filerErr = stores.check()
			}
			if err := errors.Join(nodeErr, masterErr, volumeErr, filerErr); err != nil {
				return err
			}
			// They share the limit of open files.
			parts := 2
			if isFiler {
				parts = 3
			}
			m.MaxConns = httpx.DefaultMaxConns() / parts
			v.MaxConns, f.MaxConns = m.MaxConns, m.MaxConns
			return serve(cmd, &common.profiles, func(ctx context.Context, logger *slog.Logger) error {
				v.Logger = logger
				if !isFiler {
					for _, name := range setWithPrefix(cmd.Flags(), "filer.") {
						logger.Warn("a flag has no effect, for no filer runs without -filer", "flag", "-"+name)
					}
					return runBoth(ctx, m, v)
				}
				return runWithFiler(ctx, m, v, func(ctx context.Context) error {
					return withPortFlag(runFiler(ctx, f, &stores, logger), "filer.port")
				})
			})
		},
	}
	common.register(command.Flags())
	masters.register(command.Flags(), "master.", "", "The `directory` of the master's own data, by default \"master\" "+
		"in the first directory of -dir; it is created.")
	volumes.register(command.Flags(), "volume.")
	filers.register(command.Flags(), "filer.")
	stores.register(command.Flags(), "filer.", "", "The `directory` that holds the filer's tree, if no server is to keep it, by "+
		"default \"filer\" in the first directory of -dir; it is created.")
	command.Flags().BoolVar(&isFiler, "filer", false, "Run a filer as well, on the port of -filer.port.")
	command.Flags().StringVar(&dirs, "dir", "./data", dirUsage)
	return command
}

// setWithPrefix returns the names of the flags that were given and begin so.
func setWithPrefix(flags *pflag.FlagSet, prefix string) (names []string) {
	flags.Visit(func(f *pflag.Flag) {
		if strings.HasPrefix(f.Name, prefix) {
			names = append(names, f.Name)
		}
	})
	return names
}

// runBoth runs a master and a volume server until ctx ends or one of them fails. The master drains first,
// because what it has accepted still needs the volumes.
func runBoth(ctx context.Context, m master.Config, v volume.Config) error {
	// The volume server may call the master before that is ready: the connection waits in the listener.
	ln, err := httpx.Listen(m.Bind)
	if err != nil {
		return withPortFlag(err, "master.port")
	}
	masterServer, err := master.New(m, master.Deps{Logger: v.Logger, Listener: ln})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	volumeServer, err := volume.New(v)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	masterCtx, stopMaster := context.WithCancel(ctx)
	defer stopMaster()
	volumeCtx, stopVolume := context.WithCancel(context.WithoutCancel(ctx))
	defer stopVolume()

	volumeDone := make(chan error, 1)
	go func() {
		volumeDone <- withPortFlag(volumeServer.Run(volumeCtx), "volume.port")
		stopMaster()
	}()
	err = masterServer.Run(masterCtx)
	stopVolume()
	return errors.Join(err, <-volumeDone)
}

// runWithFiler runs a master, a volume server and a filer until ctx ends or one of them fails. The filer drains first.
func runWithFiler(ctx context.Context, m master.Config, v volume.Config, runFiler func(context.Context) error) error {
	filerCtx, stopFiler := context.WithCancel(ctx)
	defer stopFiler()
	othersCtx, stopOthers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopOthers()

	othersDone := make(chan error, 1)
	go func() {
		othersDone <- runBoth(othersCtx, m, v)
		stopFiler()
	}()
	err := runFiler(filerCtx)
	stopOthers()
	return errors.Join(err, <-othersDone)
}

// withPortFlag makes an error that is about a port name the flag which chose it.
func withPortFlag(err error, flag string) error {
	var listen *httpx.ListenError
	if !errors.As(err, &listen) {
		return err
	}
	named := *listen
	named.PortFlag = flag
	return &named
}
