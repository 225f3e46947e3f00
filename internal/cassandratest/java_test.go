package cassandratest

import (
	"errors"
	"strings"
	"testing"
)

// TestChooseJava takes the oldest Java that Cassandra runs on.
func TestChooseJava(t *testing.T) {
	majors := map[string]int{"eight": 8, "eleven": 11, "seventeen": 17, "also": 17, "twenty-one": 21, "twenty-five": 25}
	majorOf := func(path string) (int, error) {
		if majors[path] == 0 {
			return 0, errors.New(path + " does not run")
		}
		return majors[path], nil
	}
	for _, c := range []struct{ candidates, want, err string }{
		{"twenty-five twenty-one seventeen also", "seventeen", ""},
		{"eleven broken twenty-one", "twenty-one", ""},
		{"eight twenty-five broken", "", "no Java from 17 to 23, which Cassandra " + version + " runs on: eight is 8, twenty-five is 25, broken does not run"},
		{"", "", "no Java from 17 to 23, which Cassandra " + version + " runs on"},
	} {
		got, err := chooseJava(strings.Fields(c.candidates), majorOf)
		if got != c.want || err == nil && c.err != "" || err != nil && (err.Error() != c.err || !isMissing(err)) {
			t.Errorf("%s: %q, %v; want %q, %s", c.candidates, got, err, c.want, c.err)
		}
	}
}
