package shell

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

type fsMetaSave struct {
	output
	file string
	path string
}

func (c *fsMetaSave) Flags(f *Flags) {
	c.output.Flags(f)
	f.String(&c.file, "o", "file", "The file to write; one that is there is replaced.", nil)
}

func (c *fsMetaSave) Check(args []string) (err error) {
	if c.file == "" {
		return usageErrorf("-o is needed: the file to write")
	}
	c.path, err = onePath(args, "/")
	return err
}

func (c *fsMetaSave) Run(ctx context.Context, e *Env) (err error) {
	lines, err := e.Filer.Entries(ctx, path.Clean(c.path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lines.Close()) }()
	saved, err := saveLines(c.file, lines)
	if err != nil {
		return err
	}
	return c.print(e, struct {
		File    string `json:"file"`
		Entries int    `json:"entries"`
	}{c.file, saved}, func(w io.Writer) {
		fmt.Fprintf(w, "%s saved to %s.\n", count(saved, "entry", "entries"), c.file)
	})
}

// lineCounter counts the line ends that are written to it.
type lineCounter int

func (l *lineCounter) Write(b []byte) (int, error) {
	*l += lineCounter(bytes.Count(b, []byte{'\n'}))
	return len(b), nil
}

// saveLines writes lines to a file that appears, durable, when it is complete, and returns their number. It replaces
// regular files only.
func saveLines(name string, lines io.Reader) (saved int, err error) {
	// The file would take the place of a device, or of a link such as /dev/stdout.
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is there and no regular file: name another one", name)
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(file.Name()))
		}
	}()
	var counter lineCounter
	out := bufio.NewWriterSize(file, 256<<10)
	if _, err = io.Copy(io.MultiWriter(out, &counter), lines); err != nil {
		return 0, err
	}
	if err = out.Flush(); err != nil {
		return 0, err
	}
	if err = file.Sync(); err != nil {
		return 0, err
	}
	if err = os.Rename(file.Name(), name); err != nil {
		return 0, err
	}
	return int(counter), file.Close()
}

type fsMetaLoad struct {
	output
	consent
	file string
}

func (c *fsMetaLoad) Flags(f *Flags) {
	c.output.Flags(f)
	c.consent.Flags(f)
}

func (c *fsMetaLoad) Check(args []string) (err error) {
	c.file, err = oneArg(args, "a file is")
	return err
}

func (c *fsMetaLoad) Run(ctx context.Context, e *Env) (err error) {
	file, err := os.Open(c.file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	plan := fmt.Sprintf("This replaces the files at %s that %s names", e.Filer.Address(), c.file)
	if err := c.obtain(ctx, e, plan); err != nil {
		return err
	}
	loaded, err := e.Filer.Load(ctx, file)
	if err != nil {
		return err
	}
	err = c.print(e, loaded, func(w io.Writer) {
		fmt.Fprintf(w, "%s and %s loaded.\n", count(loaded.Files, "file"), count(loaded.Directories, "directory", "directories"))
	})
	if err == nil && loaded.Failed > 0 {
		err = fmt.Errorf("%s not loaded; the first: %s", count(loaded.Failed, "entry", "entries"), loaded.FirstError)
	}
	return err
}
