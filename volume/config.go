package volume

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weed/internal/httpx"
	"weed/internal/vfs"
	"weed/storage"
)

// Config of a volume server. Zero values mean the defaults named.
type Config struct {
	Bind       string // host:port to listen on
	URL        string // host:port that names the server to others; Bind by default
	PublicURL  string // host:port that clients are sent to; URL by default
	Dirs       []storage.Directory
	Masters    []string // host:port of each master
	DataCenter string   // "DefaultDataCenter"
	Rack       string   // "DefaultRack"

	Fsync               storage.SyncPolicy
	FileSizeLimitBytes  int64         // 256 MiB
	UploadBudgetBytes   int64         // memory of uploads in flight; 256 MiB
	MinFreePercent      float64       // below it, that disk takes no puts and no new volumes; 0 turns the check off
	ReadRedirect        bool          // send reads of volumes that are not here to a holder
	FixOrientation      bool          // turn JPEGs upright as they are stored
	ScrubBytesPerSecond int64         // rate at which logs are re-read and checked; 0: only on order
	ScrubEvery          time.Duration // how often each volume's turn comes; 24 h
	// CompactBytesPerSecond is the rate at which logs are compacted; 0 for as fast as can be.
	CompactBytesPerSecond int64
	Pulse                 time.Duration
	Lease                 time.Duration // that servers which share volumes give each other; 3 s
	IdleTimeout           time.Duration
	MaxConns              int // open connections; what the limit of open files allows by default

	Version  string               // of the program, for /status
	Now      func() time.Time     // by which blobs expire; time.Now by default
	Guard    *httpx.Guard         // who may write; nil for everyone
	Logger   *slog.Logger         // discards by default
	Registry *prometheus.Registry // a new one by default
	FS       vfs.FS               // the operating system's by default
}

// withDefaults fills in the defaults and refuses what makes no sense.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.URL, c.Bind)
	setDefault(&c.PublicURL, c.URL)
	setDefault(&c.DataCenter, "DefaultDataCenter")
	setDefault(&c.Rack, "DefaultRack")
	setDefault(&c.FileSizeLimitBytes, 256<<20)
	setDefault(&c.UploadBudgetBytes, 256<<20)
	setDefault(&c.ScrubEvery, 24*time.Hour)
	setDefault(&c.Pulse, 5*time.Second)
	setDefault(&c.IdleTimeout, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.FS == nil {
		c.FS = vfs.OS
	}
	switch {
	case c.Bind == "":
		return c, errors.New("no address to listen on is given")
	case len(c.Masters) == 0:
		return c, errors.New("no master is given: name one with -mserver=host:port")
	case c.FileSizeLimitBytes < 0 || c.FileSizeLimitBytes > storage.MaxDataSizeBytes:
		return c, fmt.Errorf("file size limit of %d MB: at most %d", c.FileSizeLimitBytes>>20, storage.MaxDataSizeBytes>>20)
	case c.UploadBudgetBytes < c.FileSizeLimitBytes:
		return c, fmt.Errorf("memory for uploads of %d MB can't hold one file of the size limit, %d MB: raise -concurrentUploadLimitMB or lower -fileSizeLimitMB",
			c.UploadBudgetBytes>>20, c.FileSizeLimitBytes>>20)
	case c.ScrubBytesPerSecond < 0:
		return c, fmt.Errorf("volumes can't be re-read at %d bytes per second", c.ScrubBytesPerSecond)
	case c.CompactBytesPerSecond < 0:
		return c, fmt.Errorf("volumes can't be compacted at %d bytes per second", c.CompactBytesPerSecond)
	case c.MinFreePercent < 0 || c.MinFreePercent >= 100:
		return c, fmt.Errorf("minimal free space of %g percent: use 0 to 99", c.MinFreePercent)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
