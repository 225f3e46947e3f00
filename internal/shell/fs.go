package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"weed/client"
	"weed/client/filer"
)

var fsCommands = []Spec{
	{
		Name: "fs.ls", Args: "[path]", Short: "List a directory of the filer.", Example: "fs.ls -l /pictures",
		Complete: completePaths, New: func() Command { return new(fsLs) },
	},
	{
		Name: "fs.du", Args: "[path]", Short: "Count the files below a directory, and their bytes and chunks.",
		Long:    "Copies are not counted: a file of 1 MiB is 1 MiB, however many volume servers hold it.",
		Example: "fs.du /pictures", Complete: completePaths, New: func() Command { return new(fsDu) },
	},
	{
		Name: "fs.tree", Args: "[path]", Short: "Show all that is below a directory as a tree.", Example: "fs.tree /pictures",
		Complete: completePaths, New: func() Command { return new(fsTree) },
	},
	{
		Name: "fs.cat", Args: "path", Short: "Print a file.", Example: "fs.cat /notes/today.txt",
		Complete: completePaths, New: func() Command { return new(fsCat) },
	},
	{
		Name: "fs.mv", Args: "from to", Short: "Move a file or a directory.",
		Long:    "A target that ends in a slash is the directory to move into. A file that is at the target is replaced.",
		Example: "fs.mv /pictures/a.jpg /old/", Complete: completePaths, New: func() Command { return new(fsMv) },
	},
	{
		Name: "fs.rm", Args: "path", Short: "Delete a file or an empty directory, with -r a directory with all that is in it.",
		Example: "fs.rm -r /old", Complete: completePaths, New: func() Command { return new(fsRm) },
	},
	{
		Name: "fs.meta.save", Args: "[path]", Short: "Write all entries below a directory to a file on this machine.",
		Long: "The file holds names, attributes and the fids of chunks, one entry to a line, and no content. It appears " +
			"under its name when it is complete.",
		Example: "fs.meta.save -o=tree.ndjson /", Complete: completePaths, New: func() Command { return new(fsMetaSave) },
	},
	{
		Name: "fs.meta.load", Args: "file", Short: "Make or replace the entries that fs.meta.save has written to a file.",
		Long: "The entries refer to the chunks that they had. What else is in the tree stays; replaced files lose the " +
			"chunks that they don't share with the entries that are loaded.",
		Example: "fs.meta.load -yes tree.ndjson", New: func() Command { return new(fsMetaLoad) },
	},
	{
		Name: "fs.configure", Short: "List, set or delete the collection, replication and ttl of new files by path.",
		Long: "Without flags it lists the rules. With -prefix it sets what the other flags say for paths that begin so, " +
			"or deletes that rule. The longest prefix counts. Files that are there stay as they are.",
		Example: "fs.configure -prefix=/pictures/ -collection=pics -replication=001",
		New:     func() Command { return new(fsConfigure) },
	},
}

// onePath takes the path among the arguments; without one it is def, which is "" where one is needed.
func onePath(args []string, def string) (string, error) {
	if len(args) == 0 && def != "" {
		return def, nil
	}
	text, err := oneArg(args, "a path is")
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(text, "/") {
		return "", usageErrorf("%q is not a path: begin with a slash", text)
	}
	return text, nil
}

// walkTree calls visit for all entries below a directory, each directory before what it holds. last says that no
// other entry follows in the same directory. Memory: a page for each level.
func walkTree(ctx context.Context, e *Env, dir string, depth int, visit func(entry *filer.Entry, depth int, last bool) error) error {
	var held *filer.Entry
	step := func(last bool) error {
		if held == nil {
			return nil
		}
		entry := *held
		if err := visit(&entry, depth, last); err != nil || !entry.IsDir() {
			return err
		}
		err := walkTree(ctx, e, entry.FullPath, depth+1, visit)
		if errors.Is(err, client.ErrNotFound) {
			return nil // it was deleted meanwhile
		}
		return err
	}
	for entry, err := range e.Filer.List(ctx, dir, filer.ListOptions{}) {
		if err != nil {
			return err
		}
		if err := step(false); err != nil {
			return err
		}
		held = &entry
	}
	return step(true)
}

type fsLs struct {
	output
	long bool
	path string
}

func (c *fsLs) Flags(f *Flags) {
	c.output.Flags(f)
	f.Switch(&c.long, "l", "Tell permissions, sizes, chunks and times, too.")
}

func (c *fsLs) Check(args []string) (err error) {
	c.path, err = onePath(args, "/")
	return err
}

// fsEntry is one entry as fs.ls prints it.
type fsEntry struct {
	Path       string    `json:"path"`
	Directory  bool      `json:"directory"`
	Mode       string    `json:"mode"` // as ls -l spells it
	Size       int64     `json:"size"` // bytes
	Chunks     int       `json:"chunks"`
	Mtime      time.Time `json:"mtime"`
	Mime       string    `json:"mime,omitempty"`
	Collection string    `json:"collection,omitempty"`
	TTLSeconds int64     `json:"ttlSeconds,omitempty"`
}

func entryOf(e *filer.Entry) fsEntry {
	return fsEntry{e.FullPath, e.IsDir(), e.Mode.String(), e.FileSize, len(e.Chunks), e.Mtime, e.Mime, e.Collection, e.TTLSec}
}

// shownRune puts a question mark in place of what a terminal obeys.
func shownRune(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return '?'
	}
	return r
}

// shownName is a name that a terminal takes for nothing else, with a slash behind that of a directory.
func shownName(e *filer.Entry) string {
	name := strings.Map(shownRune, e.Name())
	if e.IsDir() {
		name += "/"
	}
	return name
}

func (c *fsLs) Run(ctx context.Context, e *Env) error {
	at, err := statOrRoot(ctx, e, c.path)
	if err != nil {
		return err
	}
	list := []fsEntry{}
	t := newTable("MODE", ">SIZE", ">CHUNKS", "MODIFIED", "NAME")
	add := func(entry *filer.Entry) error {
		switch {
		case c.json:
			list = append(list, entryOf(entry))
		case c.long:
			t.add(entry.Mode, entry.FileSize, len(entry.Chunks), entry.Mtime.Local().Format(time.DateTime), shownName(entry))
		default: // a directory of a million entries is shown as it comes
			_, err := fmt.Fprintln(e.Out, shownName(entry))
			return err
		}
		return nil
	}
	if !at.IsDir() {
		err = add(&at)
	} else {
		for entry, failure := range e.Filer.List(ctx, c.path, filer.ListOptions{}) {
			if err = failure; err == nil {
				err = add(&entry)
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil || !c.json && !c.long {
		return err
	}
	return c.print(e, list, t.write)
}

// statOrRoot returns the entry at a path; a slash at its end says that it has to be a directory.
func statOrRoot(ctx context.Context, e *Env, text string) (filer.Entry, error) {
	clean := path.Clean(text)
	at, err := e.Filer.Stat(ctx, clean)
	if err == nil && !at.IsDir() && strings.HasSuffix(text, "/") {
		err = fmt.Errorf("%s is a file", clean)
	}
	return at, err
}

type fsDu struct {
	output
	path string
}

func (c *fsDu) Check(args []string) (err error) {
	c.path, err = onePath(args, "/")
	return err
}

// fsUsage is what fs.du prints.
type fsUsage struct {
	Path        string `json:"path"`
	Files       int    `json:"files"`
	Directories int    `json:"directories"`
	Bytes       int64  `json:"bytes"`
	Chunks      int    `json:"chunks"`
}

func (u *fsUsage) add(entry *filer.Entry) {
	if entry.IsDir() {
		u.Directories++
		return
	}
	u.Files++
	u.Bytes += entry.FileSize
	u.Chunks += len(entry.Chunks)
}

// Run sums up the tree, and for people each directory of the first level by itself.
func (c *fsDu) Run(ctx context.Context, e *Env) error {
	at, err := statOrRoot(ctx, e, c.path)
	if err != nil {
		return err
	}
	total := fsUsage{Path: path.Clean(c.path)}
	var parts []*fsUsage
	if at.IsDir() {
		err = walkTree(ctx, e, total.Path, 0, func(entry *filer.Entry, depth int, _ bool) error {
			total.add(entry)
			switch {
			case depth == 0 && entry.IsDir():
				parts = append(parts, &fsUsage{Path: entry.FullPath})
			case depth > 0:
				parts[len(parts)-1].add(entry)
			}
			return nil
		})
	} else {
		total.add(&at)
	}
	if err != nil {
		return err
	}
	return c.print(e, total, func(w io.Writer) {
		t := newTable(">SIZE", ">FILES", ">DIRECTORIES", ">CHUNKS", "PATH")
		for _, u := range append(parts, &total) {
			t.add(size(uint64(u.Bytes)), u.Files, u.Directories, u.Chunks, u.Path)
		}
		t.write(w)
	})
}

type fsTree struct {
	path string
}

func (*fsTree) Flags(*Flags) {}

func (c *fsTree) Check(args []string) (err error) {
	c.path, err = onePath(args, "/")
	return err
}

func (c *fsTree) Run(ctx context.Context, e *Env) error {
	at, err := statOrRoot(ctx, e, c.path)
	if err != nil {
		return err
	}
	fmt.Fprintln(e.Out, path.Clean(c.path))
	var u fsUsage
	if !at.IsDir() {
		u.add(&at)
	} else {
		var stems []string // what stands left of the names of each level
		err = walkTree(ctx, e, path.Clean(c.path), 0, func(entry *filer.Entry, depth int, last bool) error {
			u.add(entry)
			branch, stem := "├── ", "│   "
			if last {
				branch, stem = "└── ", "    "
			}
			stems = append(stems[:depth], stem)
			_, err := fmt.Fprintln(e.Out, strings.Join(stems[:depth], "")+branch+shownName(entry))
			return err
		})
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.Out, "%s, %s\n", count(u.Directories, "directory", "directories"), count(u.Files, "file"))
	return err
}

// completePaths lists the paths at the first two levels of the tree, a hundred of each directory.
func completePaths(ctx context.Context, e *Env) ([]string, error) {
	const most = 100
	var paths []string
	var list func(dir string, depth int) error
	list = func(dir string, depth int) error {
		n := 0
		for entry, err := range e.Filer.List(ctx, dir, filer.ListOptions{Page: most}) {
			if err != nil {
				return err
			}
			if !strings.ContainsAny(entry.FullPath, " \t\r\n\"'\\;#") { // what needs quotes is typed
				paths = append(paths, entry.FullPath)
			}
			if entry.IsDir() && depth > 0 {
				if err := list(entry.FullPath, depth-1); err != nil {
					return err
				}
			}
			if n++; n == most {
				break
			}
		}
		return nil
	}
	err := list("/", 1)
	return paths, err
}
