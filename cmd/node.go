package cmd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weed/internal/httpx"
)

// nodeFlags are the flags that every server has; `weed server` has them once for all its servers.
type nodeFlags struct {
	ip, bind     string
	whiteList    string
	pulseSeconds int
	idleSeconds  int
	profiles     profileFlags
}

func (f *nodeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.ip, "ip", "127.0.0.1", "The `address` of this machine that others are told to connect to.")
	flags.StringVar(&f.bind, "ip.bind", "", "The `address` to listen on, by default that of -ip; 0.0.0.0 listens on "+
		"all interfaces.")
	flags.StringVar(&f.whiteList, "whiteList", "", "A comma `list` of IP addresses and ranges (10.0.0.0/8) that may "+
		"write and administrate, which the other masters and volume servers must; everybody may by default.")
	flags.IntVar(&f.pulseSeconds, "pulseSeconds", 5, "The `seconds` between two heartbeats; the same on all servers.")
	flags.IntVar(&f.idleSeconds, "idleTimeout", 30, "Close a connection after so many `seconds` without progress.")
	f.profiles.register(flags)
}

// node is what nodeFlags mean.
type node struct {
	ip, bind    string
	guard       *httpx.Guard
	pulse, idle time.Duration
}

func (f *nodeFlags) parse() (node, error) {
	n := node{ip: f.ip, bind: f.bind}
	var errs [5]error
	errs[0] = checkHost("ip", n.ip, false)
	if n.bind == "" {
		n.bind = n.ip
	} else {
		errs[1] = checkHost("ip.bind", n.bind, true)
	}
	n.guard, errs[2] = httpx.ParseGuard(f.whiteList)
	n.pulse, errs[3] = seconds("pulseSeconds", f.pulseSeconds)
	n.idle, errs[4] = seconds("idleTimeout", f.idleSeconds)
	return n, errors.Join(errs[:]...)
}

// advertise returns the host:port that others are told.
func (n node) advertise(port int) string { return net.JoinHostPort(n.ip, strconv.Itoa(port)) }

// listen returns the host:port to listen on.
func (n node) listen(port int) string { return net.JoinHostPort(n.bind, strconv.Itoa(port)) }

// serve runs a server with what belongs to the whole process around it: the limit of open files and the
// profiles. run must return once its context has ended and requests have been answered.
func serve(cmd *cobra.Command, profiles *profileFlags, run func(context.Context, *slog.Logger) error) error {
	logger := newLogger()
	raiseFileLimit(logger, enoughFiles)
	return profiles.during(func() error {
		logger.Info("weed "+cmd.Name()+" starts", "version", Version())
		if err := run(cmd.Context(), logger); err != nil {
			return err
		}
		logger.Info("weed " + cmd.Name() + " has ended")
		return nil
	})
}

// enoughFiles is the number of open files below which a busy server may run out: connections plus a few
// files for every volume.
const enoughFiles = 8192

// raiseFileLimit raises the limit of open files as far as it goes, and warns when that is less than enough.
func raiseFileLimit(logger *slog.Logger, enough uint64) {
	limit, err := httpx.RaiseFileLimit()
	if err != nil {
		logger.Warn("the limit of open files stays as it is", "limit", limit, "err", err)
	}
	if limit < enough {
		logger.Warn("the limit of open files is low: raise the hard limit (ulimit -Hn) before the start",
			"limit", limit, "advised", enough)
	}
}
