package cassandratest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"weed/internal/testproc"
)

// version is the server's.
const version = "5.0.6"

// fetchTime bounds mvn, which downloads 66 MB when it has nothing.
const fetchTime = 8 * time.Minute

// pom asks mvn for the server and all that it needs.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>weed</groupId><artifactId>cassandratest</artifactId><version>1</version>
<dependencies><dependency>
<groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>` + version + `</version>
</dependency></dependencies></project>
`

// A missingError says that this machine has no Cassandra and can't get one.
type missingError struct{ err error }

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

func isMissing(err error) bool {
	var missing *missingError
	return errors.As(err, &missing)
}

// classPath returns the server's jars. Test binaries that need them at once wait for each other.
func classPath() (jars []string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache directory: %w", err)
	}
	dir := filepath.Join(cache, "weed-ci", "cassandra-"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer unlock()
	stamp := filepath.Join(dir, "classpath")
	if jars := readClassPath(stamp); jars != nil {
		return jars, nil
	}
	if err := fetch(dir, stamp); err != nil {
		return nil, err
	}
	if jars = readClassPath(stamp); jars == nil {
		return nil, fmt.Errorf("mvn has left no usable class path in %s", stamp)
	}
	return jars, nil
}

// readClassPath returns what fetch has written, nil if it is not there or names a jar that is gone.
func readClassPath(stamp string) []string {
	text, err := os.ReadFile(stamp)
	if err != nil || len(text) == 0 {
		return nil
	}
	jars := filepath.SplitList(strings.TrimSpace(string(text)))
	for _, jar := range jars {
		if _, err := os.Stat(jar); err != nil {
			return nil
		}
	}
	return jars
}

// fetch lets mvn download the server and write its class path.
func fetch(dir, stamp string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return &missingError{err}
	}
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	fresh := stamp + ".new"
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(dir, "pom.xml"),
		"org.apache.maven.plugins:maven-dependency-plugin:2.8:build-classpath", "-DincludeScope=runtime", "-Dmdep.outputFile="+fresh)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	process, err := testproc.Start(cmd)
	if err != nil {
		return &missingError{fmt.Errorf("run mvn: %w", err)}
	}
	<-process.Done()
	if err := process.Err(); err != nil {
		return &missingError{fmt.Errorf("mvn: %w\n%s", err, out.Bytes())}
	}
	return os.Rename(fresh, stamp)
}
