// Package arch holds no code, only tests that read the source tree: imports point down, every package says
// what it is, files stay short and formatted, tests do not sleep, and nothing names the machine it was
// written on.
//
// The checks work on a tree (see loadTree), so that their own tests can hand them a broken one.
package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A floor says what the packages that match its pattern may import of this project. "a/..." is a and
// everything under it, "..." is everything. The first floor that matches a package is the package's; a
// package without a floor is a mistake, a floor without packages is not.
type floor struct {
	packages string
	may      []string
}

// Imports point down; neighbours never meet; servers meet over client and wire structs.
var floors = []floor{
	{"internal/blob", nil},
	{"internal/vfs", nil},
	{"internal/wire", nil},
	{"internal/arch", nil},
	{"internal/testcluster", []string{"..."}},
	{"internal/shell", []string{"client/...", "internal/..."}},
	{"internal/...", []string{"internal/..."}},

	{"storage/...", []string{"storage/...", "internal/blob", "internal/vfs"}},
	{"topology/...", []string{"topology/...", "internal/blob", "internal/wire"}},
	{"raftstore/...", []string{"raftstore/..."}},
	{"replication/...", []string{"replication/...", "storage/...", "internal/blob", "internal/vfs", "internal/wire"}},

	{"client/...", []string{"client/...", "internal/..."}},
	{"benchmark/...", []string{"benchmark/...", "client/...", "internal/..."}},

	{"master/...", []string{"master/...", "topology/...", "raftstore/...", "client/...", "internal/..."}},
	{"volume/...", []string{"volume/...", "storage/...", "replication/...", "client/...", "internal/..."}},
	{"filer/...", []string{"filer/...", "client/...", "internal/..."}},

	{"cmd/...", []string{"..."}},
}

// A reserve keeps imports to the packages that match one of the patterns in only, or away from those that
// match one of the patterns in never.
type reserve struct {
	imports     []string
	only, never []string
	why         string
}

var reserves = []reserve{
	{
		imports: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "flag", "github.com/golang/glog"},
		only:    []string{"cmd/..."},
		why:     "flags and the global log belong to the command line; a Config and a logger are handed down",
	},
	{
		imports: []string{"net", "net/http/...", "github.com/valyala/fasthttp/..."},
		never:   []string{"internal/blob", "internal/vfs", "internal/wire", "storage/...", "topology/..."},
		why:     "pure code can be simulated",
	},
	{
		imports: []string{"net/http/...", "github.com/valyala/fasthttp/..."},
		never:   []string{"replication/...", "raftstore/..."},
		why:     "the transport of the servers is the servers' choice",
	},
	{
		imports: []string{"weed/internal/testcluster"},
		only:    []string{"internal/testcluster"},
		why:     "it starts every server, for tests",
	},
}

// known are packages that must have been read, or the tests look at the wrong tree.
var known = []string{
	"internal/arch", "internal/blob", "internal/vfs", "internal/wire", "client", "master", "raftstore", "topology",
}

// matches reports whether name is what pattern says: exactly, or under it for a pattern in "...".
func matches(pattern, name string) bool {
	if pattern == "..." {
		return true
	}
	if above, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == above || strings.HasPrefix(name, above+"/")
	}
	return pattern == name
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func checkFloors(tr *tree) (broken []string) {
	for _, f := range tr.files {
		i := slices.IndexFunc(floors, func(fl floor) bool { return matches(fl.packages, f.pkg) })
		if i < 0 {
			broken = append(broken, fmt.Sprintf("%s: package %s has no floor", f.path, f.pkg))
			continue
		}
		may := floors[i].may
		if f.test { // and the package itself, and the cluster that stands for all servers
			may = append([]string{f.pkg, "internal/..."}, may...)
		}
		for _, imported := range f.imports() {
			inside, ours := strings.CutPrefix(imported, tr.module+"/")
			if ours && !matchesAny(may, inside) {
				broken = append(broken, fmt.Sprintf("%s: %s may not import %s", f.path, floors[i].packages, imported))
			}
			if f.test {
				continue
			}
			for _, r := range reserves {
				away := r.only != nil && !matchesAny(r.only, f.pkg) || matchesAny(r.never, f.pkg)
				if away && matchesAny(r.imports, imported) {
					broken = append(broken, fmt.Sprintf("%s: imports %s: %s", f.path, imported, r.why))
				}
			}
		}
	}
	return broken
}

func TestFloors(t *testing.T) {
	tr := project(t)
	for _, pkg := range known {
		if !slices.ContainsFunc(tr.files, func(f *file) bool { return f.pkg == pkg }) {
			t.Errorf("package %s was not seen", pkg)
		}
	}
	report(t, checkFloors(tr))
}

func TestFloorsFindWhatIsBroken(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		want          string // "" for a sound file
	}{
		{"storage/a.go", "weed/internal/blob", ""},
		{"storage/a.go", "weed/storage/needle", ""},
		{"storage/needle/a.go", "weed/internal/vfs", ""},
		{"storage/a.go", "weed/internal/wire", "storage/... may not import weed/internal/wire"},
		{"storage/a.go", "weed/storage2", "may not import"},
		{"storage/a.go", "net/http", "pure code"},
		{"storage/a.go", "net/http/httptest", "pure code"},
		{"storage/a_test.go", "weed/volume", "may not import"},
		{"storage/a_test.go", "weed/internal/testcluster", ""},
		{"storage/a_test.go", "flag", ""},
		{"internal/vfs/a.go", "weed/internal/blob", "may not import"},
		{"internal/wire/a.go", "github.com/valyala/fasthttp", "pure code"},
		{"internal/httpx/a.go", "weed/internal/wire", ""},
		{"internal/httpx/a.go", "weed/client", "may not import"},
		{"internal/testcluster/a.go", "weed/master", ""},
		{"topology/a.go", "weed/storage", "may not import"},
		{"raftstore/a.go", "weed/internal/blob", "may not import"},
		{"replication/a.go", "weed/storage", ""},
		{"replication/a.go", "net/http", "transport"},
		{"master/a.go", "weed/raftstore", ""},
		{"master/a.go", "weed/volume", "may not import"},
		{"master/a.go", "weed/internal/testcluster", "it starts every server"},
		{"volume/a.go", "weed/topology", "may not import"},
		{"volume/a.go", "weed/storage", ""},
		{"filer/store/bolt/a.go", "weed/filer/store", ""},
		{"filer/a.go", "weed/storage", "may not import"},
		{"client/a.go", "weed/internal/blob", ""},
		{"client/a.go", "weed/volume", "may not import"},
		{"benchmark/a.go", "weed/client", ""},
		{"benchmark/a.go", "weed/master", "may not import"},
		{"volume/a.go", "github.com/golang/glog", "command line"},
		{"client/a.go", "flag", "command line"},
		{"cmd/master.go", "github.com/spf13/cobra", ""},
		{"cmd/weed/main.go", "weed/cmd", ""},
		{"master/a.go", "weed/cmd", "may not import"},
		{"extra/a.go", "fmt", "package extra has no floor"},
	} {
		tr := broken(t, map[string]string{c.path: "package p\n\nimport _ \"" + c.imports + "\"\n"})
		got := strings.Join(checkFloors(tr), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s importing %s: %q, want %q", c.path, c.imports, got, c.want)
		}
	}
}
