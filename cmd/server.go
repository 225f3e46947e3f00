package cmd

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"weed/internal/httpx"
	"weed/master"
	"weed/volume"
)

func newServer() *cobra.Command {
	var (
		common  nodeFlags
		masters masterFlags
		volumes volumeFlags
		dirs    string
	)
	command := &cobra.Command{
		Use:   "server [flags]",
		Short: "Run a master and a volume server in one process.",
		Long: "Run a master and a volume server in one process: a whole store for one machine. Flags of one of the two " +
			"begin with its name. SIGTERM drains both.",
		Example: "weed server -dir=./data -volume.max=20",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if common.whiteList != "" { // the two halves talk to each other over this address
				common.whiteList += "," + common.ip
			}
			n, nodeErr := common.parse()
			if paths := splitList(dirs); masters.mdir == "" && len(paths) > 0 {
				masters.mdir = filepath.Join(paths[0], "master")
			}
			m, masterErr := masters.config(n)
			v, volumeErr := volumes.config(n, dirs, []string{m.Address})
			if err := errors.Join(nodeErr, masterErr, volumeErr); err != nil {
				return err
			}
			// They share the limit of open files.
			m.MaxConns = httpx.DefaultMaxConns() / 2
			v.MaxConns = m.MaxConns
			return serve(cmd, &common.profiles, func(ctx context.Context, logger *slog.Logger) error {
				v.Logger = logger
				return runBoth(ctx, m, v)
			})
		},
	}
	common.register(command.Flags())
	masters.register(command.Flags(), "master.", "", "The `directory` of the master's own data, by default \"master\" "+
		"in the first directory of -dir; it is created.")
	volumes.register(command.Flags(), "volume.")
	command.Flags().StringVar(&dirs, "dir", "./data", dirUsage)
	return command
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
