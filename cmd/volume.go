package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/storage"
	"weed/volume"
)

const dirUsage = "A comma `list` of directories, each on a disk of its own, that hold the volumes; they are created."

// volumeFlags are the flags of a volume server without those of nodeFlags. Their names begin with prefix:
// nothing, or "volume." within `weed server`.
type volumeFlags struct {
	prefix                  string
	port                    int
	publicURL               string
	max                     string
	dataCenter, rack        string
	fsync, index            string
	fileSizeLimitMB         int
	concurrentUploadLimitMB int
	minFreePercent          float64
	readRedirect            bool
	fixOrientation          bool
	scrubMBps               int
	compactionMBps          int
}

func (f *volumeFlags) register(flags *pflag.FlagSet, prefix string) {
	f.prefix = prefix
	flags.IntVar(&f.port, prefix+"port", 8080, "The `port` to listen on.")
	flags.StringVar(&f.publicURL, prefix+"publicUrl", "", "The `host:port` that clients are sent to, by default -ip and "+
		"the port; for servers behind a forwarded port or a public name.")
	flags.StringVar(&f.max, prefix+"max", "7", "A comma `list`: how many volumes each directory of -dir may hold. One "+
		"number goes for all directories; 0 goes by the room on the disk.")
	flags.StringVar(&f.dataCenter, prefix+"dataCenter", "DefaultDataCenter", "The `name` of the data center that this "+
		"server stands in; copies are placed by it.")
	flags.StringVar(&f.rack, prefix+"rack", "DefaultRack", "The `name` of the rack within the data center.")
	flags.StringVar(&f.fsync, prefix+"fsync", "always", "The `policy` by which writes become safe from a power cut: "+
		"always, before they are answered (those that arrive together share one sync); interval, within a second; "+
		"never, when the system gets to it.")
	flags.StringVar(&f.index, prefix+"index", "memory", "Where the index of a volume is kept; memory is the only `kind`.")
	flags.IntVar(&f.fileSizeLimitMB, prefix+"fileSizeLimitMB", 256, "Refuse uploads of more than so many `MB`.")
	flags.IntVar(&f.concurrentUploadLimitMB, prefix+"concurrentUploadLimitMB", 256, "The memory, in `MB`, for uploads "+
		"in flight; more uploads wait, then are refused.")
	flags.Float64Var(&f.minFreePercent, prefix+"minFreeSpacePercent", 1, "Take no new files on a disk with less than "+
		"so many `percent` free; 0 fills the disk.")
	flags.BoolVar(&f.readRedirect, prefix+"read.redirect", true, "Send a client that reads a volume which is not here "+
		"to a server that has it, instead of answering 404.")
	flags.BoolVar(&f.fixOrientation, prefix+"images.fix.orientation", false, "Turn JPEG pictures upright as they are "+
		"uploaded, as their EXIF data say. They are encoded anew, without those; what comes with Content-MD5 stays as it is.")
	flags.IntVar(&f.scrubMBps, prefix+"scrubMBps", 10, "Read all volumes again about once a day, at so many `MB` per second, and "+
		"check them; 0 does so only on order of weed shell.")
	flags.IntVar(&f.compactionMBps, prefix+"compactionMBps", 0, "Free the room of deleted files at no more than so many "+
		"`MB` per second; 0 goes as fast as the disk.")
}

// config checks the flags and turns them into a volume.Config, all but Logger.
func (f *volumeFlags) config(n node, dirs string, masters []string) (volume.Config, error) {
	cfg := volume.Config{
		Bind: n.listen(f.port), URL: n.advertise(f.port), PublicURL: f.publicURL,
		Masters: masters, DataCenter: f.dataCenter, Rack: f.rack,
		ReadRedirect: f.readRedirect, FixOrientation: f.fixOrientation, Pulse: n.pulse, IdleTimeout: n.idle, Guard: n.guard, Version: Version(),
	}
	errs := []error{
		checkPort(f.prefix+"port", f.port),
		checkLabel(f.prefix+"dataCenter", f.dataCenter),
		checkLabel(f.prefix+"rack", f.rack),
	}
	check := func(err error) { errs = append(errs, err) }
	if f.publicURL != "" {
		check(checkHostPort(f.prefix+"publicUrl", f.publicURL))
	}
	if f.index != "memory" {
		check(fmt.Errorf("-%sindex: %q is no kind of index: memory is the only one", f.prefix, f.index))
	}
	var err error
	cfg.Dirs, err = parseDirs(dirs, f.prefix+"max", f.max)
	check(err)
	if cfg.Fsync, err = storage.ParseSyncPolicy(f.fsync); err != nil {
		check(fmt.Errorf("-%sfsync: %w", f.prefix, err))
	}
	cfg.FileSizeLimitBytes, err = megabytes(f.prefix+"fileSizeLimitMB", f.fileSizeLimitMB, storage.MaxDataSizeBytes>>20)
	check(err)
	cfg.UploadBudgetBytes, err = megabytes(f.prefix+"concurrentUploadLimitMB", f.concurrentUploadLimitMB, 1<<20)
	check(err)
	if f.concurrentUploadLimitMB < f.fileSizeLimitMB {
		check(fmt.Errorf("-%[1]sconcurrentUploadLimitMB: %[2]d MB can't hold one file of -%[1]sfileSizeLimitMB, %[3]d MB",
			f.prefix, f.concurrentUploadLimitMB, f.fileSizeLimitMB))
	}
	cfg.MinFreePercent, err = percent(f.prefix+"minFreeSpacePercent", f.minFreePercent)
	check(err)
	if f.scrubMBps != 0 {
		cfg.ScrubBytesPerSecond, err = megabytes(f.prefix+"scrubMBps", f.scrubMBps, 1<<20)
		check(err)
	}
	if f.compactionMBps != 0 {
		cfg.CompactBytesPerSecond, err = megabytes(f.prefix+"compactionMBps", f.compactionMBps, 1<<20)
		check(err)
	}
	return cfg, errors.Join(errs...)
}

// parseDirs joins the lists of -dir and -max; a single number goes for all directories.
func parseDirs(dirs, maxName, maxText string) ([]storage.Directory, error) {
	paths, numbers := splitList(dirs), splitList(maxText)
	switch {
	case len(paths) == 0:
		return nil, errors.New("-dir: a directory is needed")
	case len(numbers) != 1 && len(numbers) != len(paths):
		return nil, fmt.Errorf("-%s: %q has %d numbers for %d directories: give one, or one for each",
			maxName, maxText, len(numbers), len(paths))
	}
	seen := make(map[string]bool)
	list := make([]storage.Directory, len(paths))
	for i, path := range paths {
		number := numbers[min(i, len(numbers)-1)]
		count, err := strconv.ParseUint(number, 10, 20)
		if err != nil {
			return nil, fmt.Errorf("-%s: %q is not a number of volumes from 0 to %d", maxName, number, 1<<20-1)
		}
		list[i] = storage.Directory{Path: filepath.Clean(path), MaxVolumes: int(count)}
		if seen[list[i].Path] {
			return nil, fmt.Errorf("-dir: %q stands twice in the list", path)
		}
		seen[list[i].Path] = true
	}
	return list, nil
}

func newVolume() *cobra.Command {
	var (
		common  nodeFlags
		own     volumeFlags
		dirs    string
		mserver string
	)
	command := &cobra.Command{
		Use:   "volume [flags]",
		Short: "Run a volume server, which keeps the files.",
		Long: "Run a volume server. It keeps volumes, files of up to 32 GB that hold many blobs each, in the directories " +
			"of -dir, announces them to the masters, and serves blobs over HTTP. SIGTERM drains it.",
		Example: "weed volume -port=8080 -dir=./v1,./v2 -max=7,3 -mserver=localhost:9333 -dataCenter=dc1 -rack=r1",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, nodeErr := common.parse()
			masters, mastersErr := parseMasters("mserver", mserver)
			cfg, err := own.config(n, dirs, masters)
			if err := errors.Join(nodeErr, mastersErr, err); err != nil {
				return err
			}
			return serve(cmd, &common.profiles, func(ctx context.Context, logger *slog.Logger) error {
				cfg.Logger = logger
				server, err := volume.New(cfg)
				if err != nil {
					return err
				}
				return server.Run(ctx)
			})
		},
	}
	common.register(command.Flags())
	own.register(command.Flags(), "")
	command.Flags().StringVar(&dirs, "dir", "./data", dirUsage)
	command.Flags().StringVar(&mserver, "mserver", "localhost:9333", "A comma `list` of the masters, each as host:port; "+
		"any of them will do.")
	return command
}
