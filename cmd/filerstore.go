package cmd

import (
	"errors"
	"log/slog"

	"github.com/spf13/pflag"

	"weed/filer"
	filerstore "weed/filer/store"
	"weed/filer/store/bolt"
)

// storeFlags choose the store of a filer.
type storeFlags struct {
	prefix string
	dir    string
}

func (f *storeFlags) register(flags *pflag.FlagSet, prefix, dir, dirUsage string) {
	f.prefix = prefix
	flags.StringVar(&f.dir, prefix+"dir", dir, dirUsage)
}

func (f *storeFlags) check() error {
	if f.dir == "" {
		return errors.New("-" + f.prefix + "dir: a directory is needed")
	}
	return nil
}

// open opens the store. alone says that no other filer can use it meanwhile.
func (f *storeFlags) open(*slog.Logger) (s filerstore.Store, alone bool, err error) {
	s, err = bolt.Open(f.dir, filerstore.Options{FIDs: filer.FIDs})
	return s, true, err
}
