package cmd

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"weed/client/filer"
	"weed/client/files"
)

func newFilerCopy() *cobra.Command {
	var cfg filer.CopyConfig
	command := &cobra.Command{
		Use:     "filer.copy [flags] file_or_dir... http://filer:8888/path/",
		Aliases: []string{"copy"},
		Short:   "Copy files and trees of directories to a filer.",
		Long: "Copy files and trees of directories to a filer, several at a time. With a slash at its end the target is " +
			"the directory to copy into; without one it is what the only source becomes. Permissions and times of files are kept. Links are " +
			"followed to files of the same tree only. What fails is named on stderr, the others are copied all the same, " +
			"and the exit code is 1. Short name: weed copy.",
		Example: "weed filer.copy -include='*.jpg' ./pictures http://localhost:8888/archive/",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageErrorf("name what to copy, then the target: http://localhost:8888/path/")
			}
			cfg.Sources = args[:len(args)-1]
			address, to, err := parseFilerURL(args[len(args)-1])
			if err != nil {
				return err
			}
			cfg.To = to
			if err := checkFilerCopy(cfg); err != nil {
				return err
			}
			return runFilerCopy(cmd, address, cfg)
		},
	}
	flags := command.Flags()
	flags.StringVar(&cfg.Include, "include", "", "Copy only the files of directories whose names match this `pattern`, "+
		"such as *.jpg; quote it for the shell.")
	flags.StringVar(&cfg.Options.Collection, "collection", "", "The `name` of the collection to write to, by default what "+
		"the filer says.")
	flags.StringVar(&cfg.Options.Replication, "replication", "", "The `xyz` of the copies, by default what the filer says.")
	flags.StringVar(&cfg.Options.TTL, "ttl", "", "The `time` to live, such as 3m, 4h, 5d, 6w, 7M, 8y; by default what the filer says.")
	flags.IntVar(&cfg.Options.MaxMB, "maxMB", 0, "Cut files into chunks of so many `MB`; 0 leaves it to the filer.")
	flags.IntVar(&cfg.AtOnce, "c", 8, "Copy so many `files` at the same time.")
	return command
}

func checkFilerCopy(cfg filer.CopyConfig) error {
	placed := files.UploadConfig{Dir: ".", Include: cfg.Include, Collection: cfg.Options.Collection,
		Replication: cfg.Options.Replication, TTL: cfg.Options.TTL, MaxMB: cfg.Options.MaxMB}
	if err := checkUpload(placed); err != nil {
		return err
	}
	if cfg.AtOnce < 1 || cfg.AtOnce > 256 {
		return fmt.Errorf("-c: %d is not a number from 1 to 256", cfg.AtOnce)
	}
	if len(cfg.Sources) > 1 && !strings.HasSuffix(cfg.To, "/") {
		return usageErrorf("several sources go into a directory: end %s with a slash", cfg.To)
	}
	return nil
}

// parseFilerURL takes http://host:port/path apart.
func parseFilerURL(text string) (address, path string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", "", usageErrorf("the target comes last, as http://host:port/path/; %q is none", text)
	}
	if u.Port() == "" {
		u.Host += ":8888"
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.Host, u.Path, nil
}

// runFilerCopy copies, and tells how that goes: the share that is done on a terminal, what failed, a line at the end.
func runFilerCopy(cmd *cobra.Command, address string, cfg filer.CopyConfig) (err error) {
	c, err := filer.New(filer.Config{Address: address, MaxConns: cfg.AtOnce + 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	complaints := cmd.ErrOrStderr()
	shown := newProgress(complaints, "copying")
	cfg.Progress = func(now filer.Copied) { shown.at(now.Bytes, max(now.Bytes, now.TotalBytes)) }
	cfg.Failed = func(name string, err error) {
		shown.end()
		fmt.Fprintf(complaints, "%s: %v\n", filepath.Clean(name), err)
	}
	copied, err := c.Copy(cmd.Context(), cfg)
	shown.end()
	if errors.Is(err, filer.ErrFailed) || err == nil {
		_, printErr := fmt.Fprintf(cmd.OutOrStdout(), "%d files and %d directories copied to http://%s%s, %d bytes\n",
			copied.Files, copied.Directories, address, cfg.To, copied.Bytes)
		err = errors.Join(err, printErr)
	}
	return err
}
