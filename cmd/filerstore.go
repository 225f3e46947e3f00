package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"weed/filer"
	filerstore "weed/filer/store"
	"weed/filer/store/bolt"
	"weed/filer/store/cassandra"
	"weed/filer/store/redis"
)

// storeFlags choose the store of a filer: the embedded one, or one server or cluster.
type storeFlags struct {
	prefix string
	flags  *pflag.FlagSet
	dir    string

	redis         redis.Config
	redisPassword password
	redisTLS      tlsFlags

	cassandra         cassandra.Config
	cassandraServers  string
	cassandraPassword password
	cassandraTLS      tlsFlags
}

func (f *storeFlags) register(flags *pflag.FlagSet, prefix, dir, dirUsage string) {
	f.prefix, f.flags = prefix, flags
	flags.StringVar(&f.dir, prefix+"dir", dir, dirUsage)
	flags.StringVar(&f.redis.Addr, prefix+"redis.server", "", "Keep the tree in the Redis server at this `host:port`, "+
		"which filers may share, and not in a directory. The port is 6379 by default.")
	flags.IntVar(&f.redis.Database, prefix+"redis.database", 0, "The `number` of the database of the Redis server.")
	flags.StringVar(&f.redis.Prefix, prefix+"redis.keyPrefix", redis.DefaultPrefix, "What all keys of the tree begin with, any "+
		"`text`: one Redis server can keep several trees.")
	flags.StringVar(&f.redis.Username, prefix+"redis.username", "", "The `user` of Redis' access control list to log in as, its "+
		"default user by default.")
	f.redisTLS.register(flags, prefix+"redis.", "the Redis server", "Its certificate has to be for the host of -"+prefix+"redis.server.")
	f.redisPassword = password{env: "WEED_REDIS_PASSWORD"}
	f.redisPassword.register(flags, prefix+"redis.password", "the Redis server")

	flags.StringVar(&f.cassandraServers, prefix+"cassandra.server", "", "Keep the tree in the Cassandra cluster of which these "+
		"are some nodes, a comma `list` of host:port, and not in a directory; filers may share it. The port is 9042 by default.")
	flags.StringVar(&f.cassandra.Keyspace, prefix+"cassandra.keyspace", cassandra.DefaultKeyspace, "The `name` of the keyspace.")
	flags.BoolVar(&f.cassandra.CreateSchema, prefix+"cassandra.createSchema", false, "Create the keyspace and its tables if they "+
		"are not there.")
	flags.StringVar(&f.cassandra.Replication, prefix+"cassandra.replication", "", "With -"+prefix+"cassandra.createSchema: the "+
		"replication of a new keyspace in `CQL`, such as {'class':'NetworkTopologyStrategy','dc1':3}; one copy by default.")
	flags.StringVar(&f.cassandra.LocalDC, prefix+"cassandra.localDC", "", "Let the copies in the data center of this `name` decide "+
		"alone (LOCAL_QUORUM, LOCAL_SERIAL). All filers of the tree have to be there, with the same flag.")
	flags.StringVar(&f.cassandra.Username, prefix+"cassandra.username", "", "The `user` to log in as, none by default.")
	f.cassandraPassword = password{env: "WEED_CASSANDRA_PASSWORD"}
	f.cassandraPassword.register(flags, prefix+"cassandra.password", "the Cassandra user")
	f.cassandraTLS.register(flags, prefix+"cassandra.", "the Cassandra nodes", "The certificate of each has to be for its address.")
}

// check checks the flags and reads the files that they name.
func (f *storeFlags) check() error {
	if f.redis.Addr != "" && f.cassandraServers != "" {
		return fmt.Errorf("a filer has one store: give one of -%[1]sredis.server and -%[1]scassandra.server", f.prefix)
	}
	errs := []error{f.orphan("redis."), f.orphan("cassandra.")}
	switch {
	case f.cassandraServers != "":
		errs = append(errs, f.checkCassandra())
	case f.redis.Addr != "":
		errs = append(errs, f.checkRedis())
	case f.dir == "":
		errs = append(errs, fmt.Errorf("-%sdir: a directory is needed", f.prefix))
	}
	return errors.Join(errs...)
}

func (f *storeFlags) checkRedis() (err error) {
	f.redis.Addr = withPort(f.redis.Addr, "6379")
	errs := []error{checkHostPort(f.prefix+"redis.server", f.redis.Addr), nil, nil}
	if f.redis.Database < 0 {
		errs = append(errs, fmt.Errorf("-%sredis.database: give 0 or more", f.prefix))
	}
	if f.redis.Prefix == "" {
		errs = append(errs, fmt.Errorf("-%sredis.keyPrefix: a text is needed", f.prefix))
	}
	f.redis.Password, errs[1] = f.redisPassword.read()
	f.redis.TLS, errs[2] = f.redisTLS.read()
	if f.redis.Username != "" && f.redis.Password == "" {
		errs = append(errs, fmt.Errorf("-%[1]sredis.username needs a password: give -%[1]sredis.passwordFile", f.prefix))
	}
	return errors.Join(errs...)
}

func (f *storeFlags) checkCassandra() error {
	errs := make([]error, 4, 6)
	f.cassandra.Hosts = splitList(f.cassandraServers)
	if len(f.cassandra.Hosts) == 0 {
		errs[0] = fmt.Errorf("-%scassandra.server: at least one node is needed", f.prefix)
	}
	for i, host := range f.cassandra.Hosts {
		f.cassandra.Hosts[i] = withPort(host, "9042")
		errs[0] = cmp.Or(errs[0], checkHostPort(f.prefix+"cassandra.server", f.cassandra.Hosts[i]))
	}
	if !cassandra.ValidKeyspace(f.cassandra.Keyspace) {
		errs[1] = fmt.Errorf("-%scassandra.keyspace: %q is no name of a lower-case letter, then letters, digits and _, 48 at most",
			f.prefix, f.cassandra.Keyspace)
	}
	f.cassandra.Password, errs[2] = f.cassandraPassword.read()
	f.cassandra.TLS, errs[3] = f.cassandraTLS.read()
	if f.cassandra.Replication != "" && !f.cassandra.CreateSchema {
		errs = append(errs, fmt.Errorf("-%[1]scassandra.replication is for -%[1]scassandra.createSchema", f.prefix))
	}
	if f.cassandra.Username == "" && (f.given("cassandra.password") || f.given("cassandra.passwordFile")) {
		errs = append(errs, fmt.Errorf("-%[1]scassandra.password needs -%[1]scassandra.username", f.prefix))
	}
	return errors.Join(errs...)
}

// withPort adds a port to a host that stands without one.
func withPort(host, port string) string {
	if strings.Contains(host, ":") {
		return host
	}
	return host + ":" + port
}

// given reports whether a flag stands on the command line with a value that is not empty.
func (f *storeFlags) given(name string) bool {
	flag := f.flags.Lookup(f.prefix + name)
	return flag.Changed && flag.Value.String() != ""
}

// orphan refuses flags of a store that is not chosen.
func (f *storeFlags) orphan(group string) (err error) {
	if f.given(group + "server") {
		return nil
	}
	f.flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed && strings.HasPrefix(flag.Name, f.prefix+group) && flag.Name != f.prefix+group+"server" {
			err = fmt.Errorf("-%s needs -%s%sserver", flag.Name, f.prefix, group)
		}
	})
	return err
}

// open opens the store. alone says that no other filer can use it meanwhile.
func (f *storeFlags) open(ctx context.Context, log *slog.Logger) (s filerstore.Store, alone bool, err error) {
	opts := filerstore.Options{FIDs: filer.FIDs}
	switch {
	case f.cassandraServers != "":
		s, err = cassandra.Open(ctx, f.cassandra, opts)
		return s, false, err
	case f.redis.Addr != "":
		r, err := redis.Open(ctx, f.redis, opts)
		if err != nil {
			return nil, false, err
		}
		for _, warning := range r.Warnings(ctx) {
			log.Warn(warning)
		}
		return r, false, nil
	}
	s, err = bolt.Open(f.dir, opts)
	return s, true, err
}
