// Command bench measures what the project promises about speed and memory, with real processes on this
// machine, and prints one line a promise: what was measured, and what it must be.
//
// It starts the `weed` binary given with -weed, drives it with wrk, and reads the processor time of each
// server from /proc. Processor time per request is what counts: it hardly depends on what else the machine
// does. Rates are compared only with rates of the same run, taken in turns.
//
//	go run ./cmd/bench -weed ./weed                 everything, about fifteen minutes
//	go run ./cmd/bench -weed ./weed -only put,get   parts
//
// It needs Linux, wrk, and for the comparison with nginx also nginx; both are Debian packages.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	ctx      context.Context
	weed     string // the binary
	dir      string // scratch, removed at the end
	duration time.Duration
	rounds   int
	blobs    int // of the random read
	needles  int // of the large vacuum
	children []*process
	entries  int // of the large directory
	failed   int
}

// A part measures one promise or a few that share a set-up.
type part struct {
	name string
	run  func(*bench) error
}

var parts = []part{
	{"put", (*bench).cpuOfPutAndGet},
	{"assign", (*bench).cpuOfMaster},
	{"large", (*bench).largeBlobs},
	{"fsync", (*bench).groupCommit},
	{"reads", (*bench).randomReads},
	{"replicas", (*bench).replicas},
	{"vacuum", (*bench).vacuum},
	{"files", (*bench).smallFiles},
	{"directory", (*bench).largeDirectory},
	{"largefile", (*bench).largeFile},
}

func main() {
	work := run
	if addr := os.Getenv(bareServerEnv); addr != "" {
		work = func() error { return serveBare(addr) }
	}
	if setting := os.Getenv(plainFilerEnv); setting != "" {
		work = func() error { return servePlainFiler(setting) }
	}
	if setting := os.Getenv(naiveServerEnv); setting != "" {
		work = func() error { return serveNaive(setting) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	b := &bench{}
	only := flag.String("only", "", "comma list of parts to run; all by default")
	dir := flag.String("dir", "", "scratch directory on the disk to measure; a new temporary one by default")
	flag.StringVar(&b.weed, "weed", "./weed", "the binary to measure")
	flag.DurationVar(&b.duration, "duration", 5*time.Second, "how long each load lasts")
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of a comparison; medians are printed")
	flag.IntVar(&b.blobs, "blobs", 200_000, "blobs of the random read")
	flag.IntVar(&b.needles, "needles", 2_000_000, "blobs of the large vacuum")
	flag.IntVar(&b.entries, "entries", 1_000_000, "entries of the large directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b.ctx = ctx
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("wrk is needed: apt-get install wrk")
	}
	if b.dir, err = os.MkdirTemp(*dir, "weed-bench-"); err != nil {
		return err
	}
	defer func() {
		b.stopAll()
		if e := os.RemoveAll(b.dir); err == nil {
			err = e
		}
	}()
	fmt.Printf("machine: %s, %d CPUs, %s %s/%s\n", cpuName(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		fmt.Printf("\n%s\n", p.name)
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.stopAll()
	}
	if b.failed > 0 {
		return fmt.Errorf("%d figures are not what they must be", b.failed)
	}
	return nil
}

// atMost prints a figure with its upper bound.
func (b *bench) atMost(what string, value, bound float64, unit string) {
	b.verdict(what, value, "at most", bound, unit, value <= bound)
}

// ratio prints how many times better something is, with its lower bound.
func (b *bench) ratio(what string, value, bound float64) {
	b.verdict(what, value, "at least", bound, "x", value >= bound)
}

func (b *bench) verdict(what string, value float64, relation string, bound float64, unit string, ok bool) {
	mark := "ok"
	if !ok {
		mark = "MISSED"
		b.failed++
	}
	fmt.Printf("  %-72s %9.2f %-6s %s %g: %s\n", what, value, unit, relation, bound, mark)
}

func (b *bench) note(what string, value float64, unit string) {
	fmt.Printf("  %-72s %9.2f %s\n", what, value, unit)
}

func median(values []float64) float64 {
	s := slices.Clone(values)
	slices.Sort(s)
	return s[len(s)/2]
}

func cpuName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}
