package cassandratest

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The versions of Java that the server runs on with the arguments of this package. Its makers name 17; from 24 on Java
// has no security manager any more, which it needs.
const (
	bestJava = 17
	lastJava = 23
)

// javaGlobs are where Java lies beside the one of PATH.
var javaGlobs = []string{"/usr/lib/jvm/*/bin/java", "/usr/local/lib/jvm/*/bin/java", "/opt/*/bin/java"}

// findJava returns a Java that fits, the oldest that there is: that of JAVA_HOME if it does, else that of PATH, else one
// of those that are installed.
func findJava() (string, error) {
	var candidates []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, path)
	}
	for _, glob := range javaGlobs {
		found, _ := filepath.Glob(glob) // the patterns are well-formed
		candidates = append(candidates, found...)
	}
	return chooseJava(candidates, javaVersion)
}

// chooseJava returns the first that fits of those with the lowest version.
func chooseJava(candidates []string, majorOf func(path string) (int, error)) (string, error) {
	type java struct {
		path  string
		major int
	}
	var fit []java
	var others []string
	for _, path := range candidates {
		switch major, err := majorOf(path); {
		case err != nil:
			others = append(others, err.Error())
		case major < bestJava || major > lastJava:
			others = append(others, fmt.Sprintf("%s is %d", path, major))
		default:
			fit = append(fit, java{path, major})
		}
	}
	if len(fit) == 0 {
		text := fmt.Sprintf("no Java from %d to %d, which Cassandra %s runs on", bestJava, lastJava, version)
		if len(others) > 0 {
			text += ": " + strings.Join(others, ", ")
		}
		return "", &missingError{fmt.Errorf("%s", text)}
	}
	return slices.MinFunc(fit, func(a, b java) int { return cmp.Compare(a.major, b.major) }).path, nil
}

var versionLine = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// javaVersion asks a Java for its major version.
func javaVersion(path string) (int, error) {
	out, err := exec.Command(path, "-version").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s -version: %w", path, err)
	}
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return 0, fmt.Errorf("%s -version says %.100q", path, out)
	}
	return strconv.Atoi(string(match[1]))
}
