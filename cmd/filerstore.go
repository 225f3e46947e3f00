package cmd

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/pflag"

	"weed/filer"
	filerstore "weed/filer/store"
	"weed/filer/store/bolt"
	"weed/filer/store/redis"
)

// storeFlags choose the store of a filer.
type storeFlags struct {
	prefix string
	dir    string
	redis  redis.Config
}

func (f *storeFlags) register(flags *pflag.FlagSet, prefix string) {
	f.prefix = prefix
	flags.StringVar(&f.dir, prefix+"dir", "./filer", "The `directory` that holds the tree; it is created. Not with -redis.server.")
	flags.StringVar(&f.redis.Addr, prefix+"redis.server", "", "Keep the tree in the Redis server at this `host:port`, "+
		"which filers may share.")
	flags.StringVar(&f.redis.Password, prefix+"redis.password", "", "The `password` of the Redis server.")
	flags.IntVar(&f.redis.Database, prefix+"redis.database", 0, "The `number` of the database of the Redis server.")
}

func (f *storeFlags) check() error {
	if f.redis.Database < 0 {
		return errors.New("-" + f.prefix + "redis.database: give 0 or more")
	}
	if f.dir == "" && f.redis.Addr == "" {
		return errors.New("-" + f.prefix + "dir: a directory is needed")
	}
	return nil
}

// open opens the store. alone says that no other filer can use it meanwhile.
func (f *storeFlags) open(*slog.Logger) (s filerstore.Store, alone bool, err error) {
	opts := filerstore.Options{FIDs: filer.FIDs}
	if f.redis.Addr != "" {
		s, err = redis.Open(context.Background(), f.redis, opts)
		return s, false, err
	}
	s, err = bolt.Open(f.dir, opts)
	return s, true, err
}
