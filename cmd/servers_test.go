package cmd

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"weed/storage"
	"weed/volume"
)

// TestCommandLines takes command lines of the documentation through normalisation and pflag.
func TestCommandLines(t *testing.T) {
	for _, c := range []struct{ line, command, want string }{
		{"-v=3 master -port=9333 -mdir=./m1", "master", "v=3 port=9333 mdir=./m1"},
		{"master --port 9333", "master", "port=9333"},
		{"volume -port 8081 -dir=./v1,./v1b -max=7,3 -mserver=localhost:9333 -dataCenter=dc1 -rack=r1", "volume",
			"port=8081 dir=./v1,./v1b max=7,3 mserver=localhost:9333 dataCenter=dc1 rack=r1"},
		{"-logtostderr -vmodule=volume=4 volume -read.redirect=false", "volume", "logtostderr=true vmodule=volume=4 read.redirect=false"},
		{"-v=3 master -port=9334 -mdir=./m2 -peers=localhost:9333,localhost:9334 -defaultReplication=100", "master",
			"v=3 port=9334 peers=localhost:9333,localhost:9334 defaultReplication=100"},
		{"-v=3 volume -port=8081 -dir=./v1 -mserver=localhost:9333 -dataCenter=dc1", "volume", "v=3 port=8081 mserver=localhost:9333"},
		{"server -dir=./data -master.port=9400 -volume.max 0 -ip.bind 0.0.0.0", "server", "dir=./data master.port=9400 volume.max=0 ip.bind=0.0.0.0"},
		{"volume -minFreeSpacePercent 5 -fsync never -v 4", "volume", "minFreeSpacePercent=5 fsync=never v=4"},
	} {
		command, args, err := normalise(newRoot(), strings.Fields(c.line))
		if err != nil || command.Name() != c.command {
			t.Errorf("%q: command %s, error %v", c.line, command.Name(), err)
			continue
		}
		// The flags are parsed as strings, so that glog's are left alone.
		flags, values := pflag.NewFlagSet("", pflag.ContinueOnError), make(map[string]string)
		for _, name := range flagNames(command) {
			flags.Var(anything{name, values}, name, "")
		}
		if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
			t.Errorf("%q: %v, arguments %q", c.line, err, flags.Args())
		}
		for pair := range strings.FieldsSeq(c.want) {
			if name, want, _ := strings.Cut(pair, "="); values[name] != want {
				t.Errorf("%q: -%s is %q, want %q", c.line, name, values[name], want)
			}
		}
	}
}

// TestBadValues runs servers with values that they must refuse before they touch anything.
func TestBadValues(t *testing.T) {
	t.Chdir(t.TempDir()) // where a server that starts nevertheless would put its data
	for _, c := range []struct{ line, want string }{
		{"master -port=0", "weed master: -port: 0 is not a port: give 1 to 65535"},
		{"master -port=x", "weed master: -port: \"x\" is not a whole number"},
		{"master -port=99999999999999999999", "weed master: -port: \"99999999999999999999\" is not a whole number"},
		{"master -ip=0.0.0.0", "weed master: -ip: 0.0.0.0 is an address to listen on"},
		{"master -ip.bind=localhost:1", "weed master: -ip.bind: \"localhost:1\" is neither"},
		{"master -mdir=", "weed master: -mdir: a directory is needed"},
		{"master -volumeSizeLimitMB=30GB", "weed master: -volumeSizeLimitMB: \"30GB\" is not a whole number"},
		{"master -volumeSizeLimitMB=32001", "weed master: -volumeSizeLimitMB: 32001 is not a size in MB from 1 to 32000"},
		{"master -defaultReplication=1000", "weed master: -defaultReplication: malformed replication"},
		{"master -defaultReplication=-1", "weed master: -defaultReplication: malformed replication"},
		{"master -repairDelay=soon", "weed master: -repairDelay: \"soon\" is no time"},
		{"master -repairDelay=0s", "weed master: -repairDelay: 0s is not a time above 0"},
		{"master -garbageThreshold=0", "weed master: -garbageThreshold: 0 is not a share above 0 and up to 1"},
		{"master -garbageThreshold=1.5", "weed master: -garbageThreshold: 1.5 is not a share above 0 and up to 1"},
		{"master -peers=localhost", "weed master: -peers: \"localhost\" is not a host:port"},
		{"master -pulseSeconds=0", "weed master: -pulseSeconds: 0 is not a number of seconds"},
		{"master -idleTimeout=-5", "weed master: -idleTimeout: -5 is not a number of seconds"},
		{"master -whiteList=10.0.0.0/99", "weed master: -whiteList: \"10.0.0.0/99\" is neither"},
		{"volume -port 70000", "weed volume: -port: 70000 is not a port"},
		{"volume -dir=", "weed volume: -dir: a directory is needed"},
		{"volume -dir=a,b,./a", "weed volume: -dir: \"./a\" stands twice in the list"},
		{"volume -dir=a,b,c -max=7,3", "weed volume: -max: \"7,3\" has 2 numbers for 3 directories"},
		{"volume -dir=a -max=7,3", "weed volume: -max: \"7,3\" has 2 numbers for 1 directories"},
		{"volume -max=-1", "weed volume: -max: \"-1\" is not a number of volumes"},
		{"volume -max=lots", "weed volume: -max: \"lots\" is not a number of volumes"},
		{"volume -mserver=", "weed volume: -mserver: at least one master is needed"},
		{"volume -mserver=http://localhost:9333", "weed volume: -mserver: \"http://localhost:9333\" is not a host:port"},
		{"volume -publicUrl=http://x", "weed volume: -publicUrl: \"http://x\" is not a host:port"},
		{"volume -dataCenter=", "weed volume: -dataCenter: \"\" is not a name"},
		{"volume -rack=a/b", "weed volume: -rack: \"a/b\" is not a name"},
		{"volume -fsync=sometimes", "weed volume: -fsync: malformed fsync policy \"sometimes\""},
		{"volume -index=leveldb", "weed volume: -index: \"leveldb\" is no kind of index: memory is the only one"},
		{"volume -fileSizeLimitMB=4096", "weed volume: -fileSizeLimitMB: 4096 is not a size in MB from 1 to 2047"},
		{"volume -fileSizeLimitMB=512", "weed volume: -concurrentUploadLimitMB: 256 MB can't hold one file of -fileSizeLimitMB, 512 MB"},
		{"volume -minFreeSpacePercent=100", "weed volume: -minFreeSpacePercent: 100 is not a percentage"},
		{"volume -minFreeSpacePercent=few", "weed volume: -minFreeSpacePercent: \"few\" is not a number"},
		{"volume -scrubMBps=-1", "weed volume: -scrubMBps: -1 is not a size in MB from 1 to"},
		{"volume -compactionMBps=-1", "weed volume: -compactionMBps: -1 is not a size in MB from 1 to"},
		{"volume -read.redirect=perhaps", "weed volume: -read.redirect: \"perhaps\" is neither true nor false"},
		{"benchmark -server=", "weed benchmark: -server: at least one master is needed"},
		{"benchmark -c=0", "weed benchmark: -c: 0 is not a number from 1 on"},
		{"benchmark -n=-5", "weed benchmark: -n: -5 is not a number from 1 on"},
		{"benchmark -size=big", "weed benchmark: -size: \"big\" is not a whole number"},
		{"benchmark -replication=9999", "weed benchmark: -replication: malformed replication"},
		{"benchmark -write=false", "weed benchmark: invalid benchmark: reads without writes need a list"},
		{"filer -dir=", "weed filer: -dir: a directory is needed"},
		{"filer -redis.server=a:1 -cassandra.server=b:2", "weed filer: a filer has one store: give one of -redis.server and -cassandra.server"},
		{"filer -redis.server=a:b", "weed filer: -redis.server: \"a:b\" is not a host:port"},
		{"filer -redis.server=a:1 -redis.database=-1", "weed filer: -redis.database: give 0 or more"},
		{"filer -redis.server=a:1 -redis.keyPrefix=", "weed filer: -redis.keyPrefix: a text is needed"},
		{"filer -redis.password=x", "weed filer: -redis.password needs -redis.server"},
		{"filer -redis.server=a:1 -redis.password=x -redis.passwordFile=y", "weed filer: give one of -redis.password and -redis.passwordFile"},
		{"filer -redis.server=a:1 -redis.passwordFile=nowhere", "weed filer: -redis.passwordFile: stat nowhere: no such file"},
		{"filer -redis.server=a:1 -redis.username=x", "weed filer: -redis.username needs a password: give -redis.passwordFile"},
		{"filer -redis.server=a:1 -redis.caFile=x", "weed filer: -redis.caFile is for -redis.tls"},
		{"filer -redis.server=a:1 -redis.tls -redis.caFile=nowhere", "weed filer: -redis.caFile: open nowhere: no such file"},
		{"filer -redis.server=a:1 -redis.tls -redis.caFile=/dev/null", "weed filer: -redis.caFile: there is no certificate in /dev/null"},
		{"filer -cassandra.server=a:1 -cassandra.caFile=x", "weed filer: -cassandra.caFile is for -cassandra.tls"},
		{"filer -redis.tls", "weed filer: -redis.tls needs -redis.server"},
		{"filer -cassandra.createSchema", "weed filer: -cassandra.createSchema needs -cassandra.server"},
		{"filer -cassandra.server=a,b:c", "weed filer: -cassandra.server: \"b:c\" is not a host:port"},
		{"filer -cassandra.server=,", "weed filer: -cassandra.server: at least one node is needed"},
		{"filer -cassandra.server=a:1 -cassandra.keyspace=Weed", "weed filer: -cassandra.keyspace: \"Weed\" is no name"},
		{"filer -cassandra.server=a:1 -cassandra.password=x", "weed filer: -cassandra.password needs -cassandra.username"},
		{"filer -cassandra.server=a:1 -cassandra.replication=3", "weed filer: -cassandra.replication is for -cassandra.createSchema"},
		{"filer -claimTime=0s", "weed filer: -claimTime: 0s is not a time from 1s on"},
		{"server -filer -filer.redis.server=a:1 -filer.cassandra.server=b:2",
			"weed server: a filer has one store: give one of -filer.redis.server and -filer.cassandra.server"},
		{"server -master.port=0 -volume.max=x", "weed server: -master.port: 0 is not a port: give 1 to 65535; -volume.max: \"x\" is not"},
		{"server -master.defaultReplication=abc", "weed server: -master.defaultReplication: malformed replication"},
		{"server -volume.fileSizeLimitMB=300", "weed server: -volume.concurrentUploadLimitMB: 256 MB can't hold one file of -volume.fileSizeLimitMB, 300 MB"},
	} {
		code, stdout, stderr := execute(t, c.line)
		if code != exitFailure || stdout != "" || !strings.HasPrefix(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("weed %s: exit code %d, %q; want %d, one line that begins %q", c.line, code, stderr, exitFailure, c.want)
		}
	}
}

func TestServerUsage(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"volume -mdir=x", "weed volume: unknown flag -mdir; did you mean -dir?"},
		{"volume -volumeSizeLimitMB=1", "weed volume: unknown flag -volumeSizeLimitMB; did you mean -fileSizeLimitMB?"},
		{"volume -peers=x", "weed volume: unknown flag -peers; master has it"},
		{"master -prot=1", "weed master: unknown flag -prot; did you mean -port?"},
		{"server -port=1", "weed server: unknown flag -port; did you mean -filer.port?"},
		{"master extra", "weed master: unexpected argument \"extra\""},
		{"volume -read.redirect false", "weed volume: unexpected argument \"false\"; the value of a switch is written"},
		{"volume -dir", "weed volume: -dir needs a value"},
	} {
		code, _, stderr := execute(t, c.line)
		if code != exitUsage || !strings.HasPrefix(stderr, c.want) {
			t.Errorf("weed %s: exit code %d, %q; want %d, %q", c.line, code, stderr, exitUsage, c.want)
		}
	}
}

// TestVolumeConfig checks that every flag arrives in its field.
func TestVolumeConfig(t *testing.T) {
	var (
		common nodeFlags
		own    volumeFlags
	)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	common.register(flags)
	own.register(flags, "")
	if err := flags.Parse(strings.Fields("--ip=10.0.0.1 --ip.bind=0.0.0.0 --port=8081 --publicUrl=files.example.org:80 --max=7,0" +
		" --dataCenter=dc1 --rack=r1 --fsync=interval --fileSizeLimitMB=16 --concurrentUploadLimitMB=32 --minFreeSpacePercent=2.5" +
		" --read.redirect=false --scrubMBps=5 --compactionMBps=3 --pulseSeconds=2 --idleTimeout=7 --whiteList=10.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	n, err := common.parse()
	if err != nil {
		t.Fatal(err)
	}
	got, err := own.config(n, "a,/b/", []string{"m:1", "n:2"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Guard == nil {
		t.Error("-whiteList is lost")
	}
	got.Guard = nil
	want := volume.Config{
		Bind: "0.0.0.0:8081", URL: "10.0.0.1:8081", PublicURL: "files.example.org:80",
		Dirs:    []storage.Directory{{Path: "a", MaxVolumes: 7}, {Path: "/b", MaxVolumes: 0}},
		Masters: []string{"m:1", "n:2"}, DataCenter: "dc1", Rack: "r1", Fsync: storage.SyncInterval,
		FileSizeLimitBytes: 16 << 20, UploadBudgetBytes: 32 << 20, MinFreePercent: 2.5, ScrubBytesPerSecond: 5 << 20,
		CompactBytesPerSecond: 3 << 20,
		Pulse:                 2e9, Version: Version(), IdleTimeout: 7e9,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// TestMasterConfig checks that every flag arrives in its field.
func TestMasterConfig(t *testing.T) {
	var (
		common nodeFlags
		own    masterFlags
	)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	common.register(flags)
	own.register(flags, "", "default", "")
	if err := flags.Parse(strings.Fields("--ip=::1 --port=9334 --mdir=m --volumeSizeLimitMB=100 --defaultReplication=110 --idleTimeout=7 --repairDelay=90s --garbageThreshold=0.4")); err != nil {
		t.Fatal(err)
	}
	n, err := common.parse()
	if err != nil {
		t.Fatal(err)
	}
	got, err := own.config(n)
	if err != nil {
		t.Fatal(err)
	}
	if got.Address != "[::1]:9334" || got.Bind != "[::1]:9334" || got.MetaDir != "m" || got.VolumeSizeLimitBytes != 100<<20 ||
		got.DefaultReplication.String() != "110" || got.Pulse != 5e9 || got.IdleTimeout != 7e9 || got.RepairDelay != 90e9 || got.GarbageThreshold != 0.4 || got.Guard != nil || got.Version != Version() {
		t.Errorf("got %+v", got)
	}
}

func TestSetWithPrefix(t *testing.T) {
	flags := newServer().Flags()
	if err := flags.Parse([]string{"--filer.port=1", "--volume.max=3", "--filer.maxMB=2"}); err != nil {
		t.Fatal(err)
	}
	if names := setWithPrefix(flags, "filer."); strings.Join(names, " ") != "filer.maxMB filer.port" {
		t.Errorf("%q", names)
	}
}
