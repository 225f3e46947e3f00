package cmd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/spf13/pflag"
)

// profileFlags are -cpuprofile and -memprofile.
type profileFlags struct{ cpu, memory string }

func (f *profileFlags) register(flags *pflag.FlagSet) {
	f.registerCPU(flags)
	flags.StringVar(&f.memory, "memprofile", "", "Write a profile of the memory in use at the end to this `file`.")
}

func (f *profileFlags) registerCPU(flags *pflag.FlagSet) {
	flags.StringVar(&f.cpu, "cpuprofile", "", "Write a CPU profile of the whole run to this `file`.")
}

// during calls run and writes the profiles of it.
func (f *profileFlags) during(run func() error) (err error) {
	stop, err := f.start()
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	return run()
}

// start opens the files and starts the CPU profile. stop, which must be called even after an error, ends what
// was started and writes the memory profile; a run that a signal has drained gets there too.
func (f *profileFlags) start() (stop func() error, err error) {
	stop = func() error { return nil }
	if f.cpu != "" {
		file, err := os.Create(f.cpu)
		if err != nil {
			return stop, fmt.Errorf("-cpuprofile: %w", err)
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return stop, errors.Join(fmt.Errorf("-cpuprofile: %w", err), file.Close())
		}
		stop = func() error {
			pprof.StopCPUProfile()
			return file.Close()
		}
	}
	if f.memory == "" {
		return stop, nil
	}
	file, err := os.Create(f.memory)
	if err != nil {
		return stop, fmt.Errorf("-memprofile: %w", err)
	}
	stopCPU := stop
	return func() error {
		err := stopCPU()
		runtime.GC() // the profile shows memory as of the last collection
		return errors.Join(err, pprof.WriteHeapProfile(file), file.Close())
	}, nil
}
