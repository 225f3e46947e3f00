package replication

import (
	"flag"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	simSeeds   = flag.Int("sim.seeds", 400, "number of seeds that the simulator runs")
	simFirst   = flag.Uint64("sim.first", 1, "the first of them")
	simSeed    = flag.Uint64("sim.seed", 0, "the one seed that it runs, with a trace")
	simVerbose = flag.Bool("sim.v", false, "print the trace of the seed that fails")
)

// simAll runs seeds from first on, on all processors, until one fails; it returns the lowest of those that failed.
func simAll(first uint64, n int, planted bugs) (seed uint64, failure string, ran int, stats simStats) {
	var next, failed atomic.Uint64
	next.Store(first)
	failed.Store(first + uint64(n))
	var mu sync.Mutex
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				k := next.Add(1) - 1
				if k >= failed.Load() {
					return
				}
				text, one := simRun(k, planted, nil)
				mu.Lock()
				ran++
				stats.add(&one)
				if text != "" && k < failed.Load() {
					seed, failure = k, text
					failed.Store(k)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return seed, failure, ran, stats
}

func (t *simStats) add(o *simStats) {
	t.events += o.events
	t.commits += o.commits
	t.acked += o.acked
	t.refused += o.refused
	t.unknown += o.unknown
	t.reads += o.reads
	t.timeouts += o.timeouts
	t.epochs += o.epochs
	t.crashes += o.crashes
	t.recoveries += o.recoveries
	t.excused += o.excused
	t.vacuumed += o.vacuumed
	t.resets += o.resets
}

func TestSim(t *testing.T) {
	if *simSeed != 0 {
		if failure, stats := simRun(*simSeed, bugs{}, os.Stdout); failure != "" {
			t.Fatalf("seed %d: %s", *simSeed, failure)
		} else {
			t.Logf("%+v", stats)
		}
		return
	}
	seed, failure, ran, stats := simAll(*simFirst, *simSeeds, bugs{})
	t.Logf("%d seeds: %+v", ran, stats)
	if failure != "" {
		if *simVerbose {
			simRun(seed, bugs{}, os.Stdout)
		}
		t.Fatalf("%s\nonce more with a trace: go test ./replication -run 'Sim$' -sim.seed=%d", failure, seed)
	}
}

// TestSimFindsPlantedBugs makes mistakes on purpose, each of which the simulator has to find. That it finds one of
// them by a check that another would trip as well does not matter: without the mistake none of these seeds fails.
func TestSimFindsPlantedBugs(t *testing.T) {
	for name, planted := range map[string]bugs{
		"commit before all have acknowledged": {commitEarly: true},
		"lease counted from its answer":       {leaseFromAnswer: true},
		"no truncation of who comes back":     {keepTail: true},
		"puts with fewer members than copies": {putBelowCopies: true},
		"no new log where one was compacted":  {keepOld: true},
		"acks of what the disk did not take":  {ackUnwritten: true},
	} {
		t.Run(name, func(t *testing.T) {
			seed, failure, ran, _ := simAll(1, 1000, planted)
			if failure == "" {
				t.Fatalf("not found in %d seeds", ran)
			}
			t.Logf("seed %d: %s", seed, failure)
		})
	}
}

// TestSimIsDeterministic runs seeds twice: what a seed found once it finds again.
func TestSimIsDeterministic(t *testing.T) {
	for seed := range uint64(10) {
		var first, second strings.Builder
		simRun(seed, bugs{}, &first)
		simRun(seed, bugs{}, &second)
		if first.String() != second.String() {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}
