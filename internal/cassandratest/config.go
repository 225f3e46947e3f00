package cassandratest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"weed/internal/testcert"
)

// yamlFormat takes the data directory, the port between nodes, the clients' port, the node's address, the first node's
// address and the node's token. The commit log is synced
// before a write is answered; time-outs are generous, for machines that do much else.
const yamlFormat = `cluster_name: weed-test
num_tokens: 1
initial_token: %[6]s
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
commitlog_sync: batch
commitlog_directory: %[1]s/commitlog
commitlog_segment_size: 32MiB
data_file_directories: ['%[1]s/data']
saved_caches_directory: %[1]s/caches
hints_directory: %[1]s/hints
cdc_raw_directory: %[1]s/cdc
listen_address: %[4]s
storage_port: %[2]d
rpc_address: %[4]s
start_native_transport: true
native_transport_port: %[3]d
auto_snapshot: false
read_request_timeout: 10s
range_request_timeout: 10s
write_request_timeout: 10s
cas_contention_timeout: 5s
request_timeout: 20s
client_encryption_options:
  enabled: true
  optional: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: %[7]s
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "%[5]s:%[2]d"
`

const logback = `<configuration>
<appender name="out" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%-5level %d{HH:mm:ss.SSS} [%thread] %F:%L - %msg%n</pattern></encoder>
</appender>
<logger name="org.apache.cassandra.db.compaction" level="WARN"/>
<logger name="org.apache.cassandra.io.sstable" level="WARN"/>
<root level="INFO"><appender-ref ref="out"/></root>
</configuration>
`

// opened are the packages of the Java library that the server reaches into.
var opened = []string{
	"java.base/java.io", "java.base/java.lang", "java.base/java.lang.module", "java.base/java.lang.ref",
	"java.base/java.math", "java.base/java.net", "java.base/java.nio", "java.base/java.util",
	"java.base/java.util.concurrent", "java.base/java.util.concurrent.atomic",
	"java.base/jdk.internal.loader", "java.base/jdk.internal.math", "java.base/jdk.internal.misc",
	"java.base/jdk.internal.module", "java.base/jdk.internal.ref", "java.base/jdk.internal.reflect",
	"java.base/jdk.internal.util", "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
	"java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server",
	"java.rmi/sun.rmi.transport.tcp", "java.sql/java.sql", "jdk.management/com.sun.management.internal",
	"jdk.unsupported/sun.misc",
}

// node is one of a cluster.
type node struct {
	number, of        int
	storagePort, port int
}

func (n node) address() string { return fmt.Sprintf("127.0.0.%d", n.number+1) }

// token returns the middle of the node's part of the ring, which goes from -2^63 to 2^63: the parts are of one size.
func (n node) token() string {
	part := uint64(math.MaxUint64) / uint64(n.of)
	return strconv.FormatInt(int64(part*uint64(n.number)+part/2-1<<63), 10)
}

// configure writes the node's configuration into dir.
func (n node) configure(dir string, cert *testcert.Certificate) error {
	yaml := fmt.Sprintf(yamlFormat, filepath.ToSlash(filepath.Join(dir, "data")), n.storagePort, n.port, n.address(), node{}.address(), n.token(),
		filepath.ToSlash(cert.Both))
	if err := os.WriteFile(filepath.Join(dir, "cassandra.yaml"), []byte(yaml), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "logback.xml"), []byte(logback), 0o644)
}

// arguments are those of java.
func arguments(dir string, jars []string) []string {
	// A start that takes few CPU seconds comes before a server that is fast.
	args := []string{"-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError",
		"-Djava.security.manager=allow", "-Djdk.attach.allowAttachSelf=true", "-Djava.io.tmpdir=" + dir,
		"-Dcassandra.config=file://" + filepath.ToSlash(filepath.Join(dir, "cassandra.yaml")),
		"-Dcassandra.storagedir=" + filepath.Join(dir, "data"),
		"-Dlogback.configurationFile=" + filepath.Join(dir, "logback.xml"),
		"-Dcassandra-foreground=yes", "-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=100",
		"-Dcassandra.skip_default_role_setup=true"}
	for _, jar := range jars {
		if strings.HasPrefix(filepath.Base(jar), "jamm-") {
			args = append(args, "-javaagent:"+jar)
		}
	}
	for _, name := range opened {
		args = append(args, "--add-exports="+name+"=ALL-UNNAMED", "--add-opens="+name+"=ALL-UNNAMED")
	}
	return append(args, "-cp", strings.Join(jars, string(filepath.ListSeparator)), "org.apache.cassandra.service.CassandraDaemon")
}
