// Package benchmark loads a running store with writes, deletes and reads, and tells how fast it was. It is
// the engine of `weed benchmark`.
//
// It owns the workload (workload.go), the raw results of a phase (result.go) and what is printed of them
// (text.go, json.go). It keeps 16 bytes per file and no content: the bytes of a blob are a function of its
// fid and its length, so that every read is compared byte by byte. A wrong byte, a missing blob and a blob
// that is there though it was deleted are failed requests.
//
//	report, err := benchmark.Run(ctx, benchmark.Config{
//		Masters: []string{"localhost:9333"}, N: 20000, Write: true, Read: true,
//	}, os.Stdout)
//	if errors.Is(err, benchmark.ErrFailedRequests) { … }
//	fmt.Println(report.Phases[0].RequestsPerSecond())
//
// Each request of the write phase is one assign and one upload, as clients of the store do it. Run owns the
// goroutines it starts, and has ended them when it returns.
package benchmark

import (
	"context"
	"errors"
	"fmt"
	"io"

	"weed/client"
	"weed/internal/blob"
)

// The kinds of failure of Run.
var (
	// ErrFailedRequests says that the benchmark ran, and that requests failed.
	ErrFailedRequests = errors.New("requests failed")
	// ErrInvalid says that the Config makes no sense.
	ErrInvalid = errors.New("invalid benchmark")
)

// Config tells what to run. Zero numbers and texts mean their defaults.
type Config struct {
	Masters       []string // default localhost:9333
	Concurrency   int      // requests under way at once, default 16
	Size          int      // bytes of a file, to which 0 to 63 random ones are added; default 1024
	N             int      // files to write, and reads to make; default 1048576
	ListFile      string   // fids, one per line: written by a write phase, else what is read
	Write         bool
	Read          bool
	Sequential    bool   // read in the order of the list, each file once, instead of at random
	DeletePercent int    // share of the written files that is deleted before the reads
	Collection    string // default "benchmark"
	Replication   string // default is the masters'
	JSON          bool   // print the report as JSON, and no progress
}

// maxN keeps the fids in memory below 16 GiB.
const maxN = 1 << 30

func (cfg Config) withDefaults() (Config, error) {
	if len(cfg.Masters) == 0 {
		cfg.Masters = []string{"localhost:9333"}
	}
	for _, f := range []struct {
		name  string
		value *int
		def   int
		limit int
	}{
		{"concurrency", &cfg.Concurrency, 16, 1 << 16},
		{"size", &cfg.Size, 1024, 1 << 30},
		{"number of files", &cfg.N, 1 << 20, maxN},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 0 || *f.value > f.limit {
			return cfg, fmt.Errorf("%w: %s %d is not between 1 and %d", ErrInvalid, f.name, *f.value, f.limit)
		}
	}
	if cfg.Collection == "" {
		cfg.Collection = "benchmark"
	}
	if err := blob.CheckCollection(cfg.Collection); err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case !cfg.Write && !cfg.Read:
		return cfg, fmt.Errorf("%w: neither writes nor reads are asked for", ErrInvalid)
	case !cfg.Write && cfg.ListFile == "":
		return cfg, fmt.Errorf("%w: reads without writes need a list of fids", ErrInvalid)
	case cfg.DeletePercent < 0 || cfg.DeletePercent > 100:
		return cfg, fmt.Errorf("%w: %d is no percentage", ErrInvalid, cfg.DeletePercent)
	case cfg.DeletePercent > 0 && !cfg.Write:
		return cfg, fmt.Errorf("%w: only what was written is deleted", ErrInvalid)
	}
	return cfg, nil
}

// Run executes the phases that cfg asks for and prints to out. The report is complete up to the moment of an
// error: ErrInvalid, ErrFailedRequests, the context's error after an interruption, or a failure of ListFile
// or out.
func Run(ctx context.Context, cfg Config, out io.Writer) (report Report, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return Report{}, err
	}
	c, err := client.New(client.Config{Masters: cfg.Masters, MaxConnsPerHost: 2 * cfg.Concurrency})
	if err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	r := &run{cfg: cfg, c: c, out: out, report: Report{Concurrency: cfg.Concurrency}}
	err = r.phases(ctx)
	if err == nil && ctx.Err() != nil {
		r.report.Interrupted = true
		err = fmt.Errorf("interrupted: %w", ctx.Err())
	}
	if cfg.JSON {
		err = errors.Join(err, r.report.WriteJSON(out))
	}
	if n := r.report.failed(); err == nil && n > 0 {
		err = fmt.Errorf("%d %w", n, ErrFailedRequests)
	}
	return r.report, err
}

// run is one Run under way.
type run struct {
	cfg    Config
	c      *client.Client
	out    io.Writer
	report Report
	items  []item // what there is to read
}

func (r *run) phases(ctx context.Context) error {
	if r.cfg.Write {
		if r.cfg.ListFile != "" { // before the long work
			if err := writeList(r.cfg.ListFile, nil, r.deleted); err != nil {
				return fmt.Errorf("writing the list of fids: %w", err)
			}
		}
		if err := r.write(ctx); err != nil {
			return err
		}
		if r.cfg.DeletePercent > 0 && ctx.Err() == nil {
			if err := r.delete(ctx); err != nil {
				return err
			}
		}
		if r.cfg.ListFile != "" {
			if err := writeList(r.cfg.ListFile, r.items, r.deleted); err != nil {
				return fmt.Errorf("writing the list of fids: %w", err)
			}
		}
	} else {
		items, err := readList(r.cfg.ListFile)
		if err != nil {
			return fmt.Errorf("reading the list of fids: %w", err)
		}
		r.items = items
	}
	if r.cfg.Read && ctx.Err() == nil && len(r.items) > 0 {
		return r.read(ctx)
	}
	return nil
}
