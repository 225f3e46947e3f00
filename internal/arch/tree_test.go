package arch

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tree is the Go source of a module.
type tree struct {
	root   string
	module string
	fset   *token.FileSet
	files  []*file // in path order
}

type file struct {
	path   string // slash-separated, relative to the root
	pkg    string // its directory, "." for the root
	test   bool
	source []byte
	syntax *ast.File
}

func (f *file) imports() []string {
	var list []string
	for _, spec := range f.syntax.Imports {
		name, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		list = append(list, name)
	}
	return list
}

// loadTree reads and parses all Go files under root, whatever their build tags, but for testdata and
// hidden directories.
func loadTree(root string) (*tree, error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(mod), "\n")
	module, ok := strings.CutPrefix(first, "module ")
	if !ok {
		return nil, fmt.Errorf("go.mod starts with %q, not with its module", first)
	}
	tr := &tree{root: root, module: strings.TrimSpace(module), fset: token.NewFileSet()}
	err = filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // another test's scratch file went away
			return nil
		}
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && full != root && (name == "testdata" || strings.HasPrefix(name, ".")) {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		return tr.add(full)
	})
	return tr, err
}

func (tr *tree) add(full string) error {
	relative, err := filepath.Rel(tr.root, full)
	if err != nil {
		return err
	}
	f := &file{path: filepath.ToSlash(relative)}
	f.pkg, f.test = path.Dir(f.path), strings.HasSuffix(f.path, "_test.go")
	if f.source, err = os.ReadFile(full); err != nil {
		return err
	}
	f.syntax, err = parser.ParseFile(tr.fset, f.path, f.source, parser.ParseComments)
	tr.files = append(tr.files, f)
	return err
}

// project loads the module that this package is part of.
func project(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.Abs("../..") // go test runs in the directory of the package
	if err != nil {
		t.Fatal(err)
	}
	tr, err := loadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// broken makes a module of the given files, for the tests of the checks.
func broken(t *testing.T, files map[string]string) *tree {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module weed\n"
	for name, text := range files {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := loadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func report(t *testing.T, broken []string) {
	t.Helper()
	for _, b := range broken {
		t.Error(b)
	}
}

// checkComments wants one package comment per package, in one file, that starts as godoc wants it. Where
// there is code it stands with the code; tests of a package that live outside of it need none.
func checkComments(tr *tree) (broken []string) {
	type state struct {
		name     string
		code     bool
		comments []string
	}
	packages := map[string]*state{}
	for _, f := range tr.files {
		s := packages[f.pkg]
		if s == nil {
			s = &state{}
			packages[f.pkg] = s
		}
		if f.test && s.code {
			continue
		}
		if !f.test && !s.code {
			*s = state{code: true}
		}
		s.name = strings.TrimSuffix(f.syntax.Name.Name, "_test")
		if f.syntax.Doc != nil {
			s.comments = append(s.comments, f.syntax.Doc.Text())
		}
	}
	for pkg, s := range packages {
		switch {
		case len(s.comments) != 1:
			broken = append(broken, fmt.Sprintf("%s: %d package comments, want 1", pkg, len(s.comments)))
		case s.name != "main" && !strings.HasPrefix(s.comments[0], "Package "+s.name+" "):
			broken = append(broken, fmt.Sprintf("%s: the package comment does not start with %q", pkg, "Package "+s.name))
		}
	}
	slices.Sort(broken)
	return broken
}

const maxLines = 600

func checkForm(tr *tree) (broken []string) {
	for _, f := range tr.files {
		if n := bytes.Count(f.source, []byte("\n")); n > maxLines {
			broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d", f.path, n, maxLines))
		}
		if formatted, err := format.Source(f.source); err != nil || !bytes.Equal(formatted, f.source) {
			broken = append(broken, fmt.Sprintf("%s: not as gofmt writes it (%v)", f.path, err))
		}
	}
	return broken
}

// checkSleeps finds time.Sleep in tests, under whatever name package time is imported. Within synctest.Test
// it is how fake time passes, and is fine.
func checkSleeps(tr *tree) (broken []string) {
	for _, f := range tr.files {
		if !f.test {
			continue
		}
		local := ""
		for _, spec := range f.syntax.Imports {
			if spec.Path.Value != `"time"` {
				continue
			}
			if local = "time"; spec.Name != nil {
				local = spec.Name.Name
			}
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && selects(call.Fun, "synctest", "Test") {
				return false
			}
			if local != "" && selects(n, local, "Sleep") {
				broken = append(broken, fmt.Sprintf("%s: sleeps; wait for a condition or use testing/synctest",
					tr.fset.Position(n.Pos())))
			}
			return true
		})
	}
	return broken
}

// selects reports whether n is the expression `of.name`.
func selects(n ast.Node, of, name string) bool {
	s, ok := n.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == of
}

// places are names that mean something on one machine only. They are written in two parts, so that this
// file does not name them either.
var places = []string{
	"/" + "work/", "/" + "root/",
	"proxy." + "golang.org", "sum." + "golang.org", "deb." + "debian.org", "registry." + "npmjs.org",
}

// checkPlaces looks into the text files among those named.
func checkPlaces(tr *tree, tracked []string) (broken []string, err error) {
	for _, name := range tracked {
		text, err := os.ReadFile(filepath.Join(tr.root, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) { // removed, and not yet committed
			continue
		}
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
			continue
		}
		for _, place := range places {
			if before, _, found := bytes.Cut(text, []byte(place)); found {
				line := 1 + bytes.Count(before, []byte("\n"))
				broken = append(broken, fmt.Sprintf("%s:%d: names %s", name, line, place))
			}
		}
	}
	return broken, nil
}

// trackedFiles lists what git tracks, or the Go files where there is no git.
func trackedFiles(tr *tree) []string {
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = tr.root
	if out, err := list.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var names []string
	for _, f := range tr.files {
		names = append(names, f.path)
	}
	return names
}

func TestPackageComments(t *testing.T) { report(t, checkComments(project(t))) }
func TestForm(t *testing.T)            { report(t, checkForm(project(t))) }
func TestNoSleeps(t *testing.T)        { report(t, checkSleeps(project(t))) }

func TestNoPlaces(t *testing.T) {
	tr := project(t)
	tracked := trackedFiles(tr)
	if len(tracked) < len(known) {
		t.Fatalf("only %d files to look into", len(tracked))
	}
	found, err := checkPlaces(tr, tracked)
	if err != nil {
		t.Fatal(err)
	}
	report(t, found)
}

func TestChecksFindWhatIsBroken(t *testing.T) {
	const sound = "// Package p is sound.\npackage p\n"
	for _, c := range []struct {
		name  string
		check func(*tree) []string
		files map[string]string
		want  string
	}{
		{"comment", checkComments, map[string]string{"p/a.go": sound, "p/b.go": "package p\n"}, ""},
		{"comment of tests alone", checkComments, map[string]string{"p/a_test.go": sound}, ""},
		{"comment of main", checkComments, map[string]string{"p/a.go": "// Weed stores.\npackage main\n"}, ""},
		{"no comment", checkComments, map[string]string{"p/a.go": "package p\n"}, "0 package comments"},
		{"comment with the test", checkComments,
			map[string]string{"p/a_test.go": sound, "p/b.go": "package p\n"}, "0 package comments"},
		{"two comments", checkComments, map[string]string{"p/a.go": sound, "p/b.go": sound}, "2 package comments"},
		{"wrong comment", checkComments, map[string]string{"p/a.go": "// P is p.\npackage p\n"}, "does not start"},
		{"form", checkForm, map[string]string{"p/a.go": sound + "\n" + strings.Repeat("// more\n", maxLines-3)}, ""},
		{"long", checkForm, map[string]string{"p/a.go": sound + "\n" + strings.Repeat("// more\n", maxLines-2)}, "601 lines"},
		{"format", checkForm, map[string]string{"p/a.go": sound + "var  x = 1\n"}, "gofmt"},
		{"sleep in code", checkSleeps,
			map[string]string{"p/a.go": sound + "import \"time\"\n\nfunc f() { time.Sleep(1) }\n"}, ""},
		{"sleep in a test", checkSleeps,
			map[string]string{"p/a_test.go": sound + "import \"time\"\n\nfunc f() { time.Sleep(1) }\n"}, "a_test.go:5:12: sleeps"},
		{"sleep renamed", checkSleeps,
			map[string]string{"p/a_test.go": sound + "import t \"time\"\n\nvar f = t.Sleep\n"}, "sleeps"},
		{"sleep in fake time", checkSleeps, map[string]string{"p/a_test.go": sound + "import (\n\t\"testing/synctest\"\n" +
			"\t\"time\"\n)\n\nfunc f() { synctest.Test(nil, func(*testing.T) { time.Sleep(1) }) }\n"}, ""},
		{"sleep of others", checkSleeps,
			map[string]string{"p/a_test.go": sound + "import \"time\"\n\nvar f = clock.Sleep\nvar _ time.Time\n"}, ""},
		{"places", checkAllPlaces, map[string]string{"p/a.go": sound + "// network/root.\n"}, ""},
		{"path", checkAllPlaces, map[string]string{"p/a.go": sound + "// see " + places[0] + "x\n"}, "p/a.go:3: names"},
		{"host", checkAllPlaces, map[string]string{"p/a.go": sound + "// https://" + places[2] + "\n"}, "names proxy."},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.Join(c.check(broken(t, c.files)), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func checkAllPlaces(tr *tree) []string {
	found, err := checkPlaces(tr, trackedFiles(tr))
	if err != nil {
		return []string{err.Error()}
	}
	return found
}
