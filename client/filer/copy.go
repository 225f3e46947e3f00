package filer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"weed/client"
)

// ErrFailed says that some of the files failed; CopyConfig.Failed was told which and why.
var ErrFailed = errors.New("failed")

// CopyConfig says what Copy does.
type CopyConfig struct {
	Sources []string   // files and directories
	To      string     // path at the filer; a slash at its end means into that directory
	Include string     // pattern of the names of files below directories, "" for all
	Options PutOptions // of every file; Mode, Mtime and Size are those of the file itself
	AtOnce  int        // files under way; 0 means 8

	// Failed is told what was not copied, as that turns out; nil for nobody. It and Progress are called by one
	// goroutine at a time.
	Failed func(name string, err error)
	// Progress is called now and then, and at the end; nil for nobody.
	Progress func(Copied)
}

// Copied is how far a Copy is.
type Copied struct {
	Files, Directories int64
	Failed             int64
	Bytes              int64 // read from files so far; those of a second try are not counted again
	TotalBytes         int64 // of all files that were found before the first was copied
}

const (
	copyAtOnce    = 8
	copyTries     = 4
	copyProgress  = 200 * time.Millisecond
	copyRetryWait = time.Second
	copyMaxWait   = 10 * time.Second
)

// Errors that Copy tells about single files.
var (
	errLink    = errors.New("a link to a directory, or to outside of the tree: not followed")
	errSpecial = errors.New("neither a file nor a directory")
)

// copying is one call of Copy.
type copying struct {
	c   *Client
	cfg CopyConfig

	files, directories, bytes, total, failed atomic.Int64

	mu sync.Mutex // around calls of cfg.Failed and cfg.Progress
}

// job is a file that is to be copied.
type job struct {
	name string // as the user knows it
	to   string
	open func() (*os.File, error)
}

// Copy uploads files and trees, AtOnce files at a time, each streamed. When one fails the others go on, and the error is
// ErrFailed. Links are followed to files inside of the tree that is copied, and nowhere else. Permissions and times of modification are kept.
func (c *Client) Copy(ctx context.Context, cfg CopyConfig) (Copied, error) {
	if cfg.AtOnce <= 0 {
		cfg.AtOnce = copyAtOnce
	}
	if len(cfg.Sources) > 1 && withSlash(cfg.To) != cfg.To {
		return Copied{}, fmt.Errorf("%w: several sources go into a directory: end %s with a slash", client.ErrInvalid, cfg.To)
	}
	if _, err := path.Match(cfg.Include, ""); err != nil {
		return Copied{}, fmt.Errorf("%w: %q is not a pattern", client.ErrInvalid, cfg.Include)
	}
	k := &copying{c: c, cfg: cfg}
	k.measure(ctx)

	told := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(told)
		k.report(stop)
	}()
	jobs := make(chan job)
	var group sync.WaitGroup
	for range cfg.AtOnce {
		group.Go(func() {
			for j := range jobs {
				k.copyFile(ctx, j)
			}
		})
	}
	for _, source := range cfg.Sources {
		if err := k.source(ctx, source, jobs); err != nil {
			k.fail(source, err)
		}
	}
	close(jobs)
	group.Wait()
	close(stop)
	<-told
	now := k.now()
	switch {
	case ctx.Err() != nil:
		return now, ctx.Err()
	case now.Failed > 0:
		return now, fmt.Errorf("%d files or directories %w", now.Failed, ErrFailed)
	}
	return now, nil
}

func (k *copying) now() Copied {
	return Copied{Files: k.files.Load(), Directories: k.directories.Load(), Failed: k.failed.Load(),
		Bytes: k.bytes.Load(), TotalBytes: k.total.Load()}
}

// report calls Progress until stop is closed, and once more.
func (k *copying) report(stop <-chan struct{}) {
	if k.cfg.Progress == nil {
		return
	}
	ticks := time.NewTicker(copyProgress)
	defer ticks.Stop()
	tell := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.cfg.Progress(k.now())
	}
	for {
		tell()
		select {
		case <-ticks.C:
		case <-stop:
			tell()
			return
		}
	}
}

func (k *copying) fail(name string, err error) {
	k.failed.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cfg.Failed != nil {
		k.cfg.Failed(name, err)
	}
}

// measure sums up what there is to copy. What can't be read is told later, when it is to be copied.
func (k *copying) measure(ctx context.Context) {
	for _, source := range k.cfg.Sources {
		_ = filepath.WalkDir(source, func(_ string, d fs.DirEntry, err error) error { // told later
			if err != nil {
				return nil //nolint:nilerr // the same
			}
			if info, err := d.Info(); err == nil && d.Type().IsRegular() && k.included(d.Name()) {
				k.total.Add(info.Size())
			}
			return ctx.Err()
		})
	}
}

func (k *copying) included(name string) bool {
	ok, _ := path.Match(k.cfg.Include, name) // checked before
	return ok || k.cfg.Include == ""
}

// source makes the jobs of a file or a tree.
func (k *copying) source(ctx context.Context, source string, jobs chan<- job) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	to := k.cfg.To
	if withSlash(to) == to {
		full, err := filepath.Abs(source)
		if err != nil {
			return err
		}
		to = path.Join(to, filepath.Base(full))
	}
	switch {
	case info.Mode().IsRegular():
		jobs <- job{source, to, func() (*os.File, error) { return os.Open(source) }}
		return nil
	case !info.IsDir():
		return errSpecial
	}
	return k.tree(ctx, source, to, jobs)
}

// tree makes the directories of a tree, and the jobs of its files.
func (k *copying) tree(ctx context.Context, source, to string, jobs chan<- job) error {
	root, err := os.OpenRoot(source)
	if err != nil {
		return err
	}
	// The files are opened by the workers: the root closes when the last of them is done.
	var opened sync.WaitGroup
	defer func() {
		opened.Wait()
		_ = root.Close() // nothing was written
	}()
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		shown := filepath.Join(source, filepath.FromSlash(name))
		target := path.Join(to, name)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			k.fail(shown, err)
			return nil
		case d.IsDir():
			if err := k.c.Mkdir(ctx, target); err != nil {
				k.fail(shown, err)
				return fs.SkipDir
			}
			k.directories.Add(1)
			return nil
		case !k.included(d.Name()):
			return nil
		}
		info, err := root.Stat(filepath.FromSlash(name))
		switch {
		case d.Type()&fs.ModeSymlink != 0 && (err != nil || !info.Mode().IsRegular()):
			k.fail(shown, errLink)
		case err != nil:
			k.fail(shown, err)
		case !info.Mode().IsRegular():
			k.fail(shown, errSpecial)
		default:
			opened.Add(1)
			jobs <- job{shown, target, func() (*os.File, error) {
				defer opened.Done()
				return root.Open(filepath.FromSlash(name))
			}}
		}
		return nil
	})
}

// copyFile uploads one file, again if the filer could not take it now.
func (k *copying) copyFile(ctx context.Context, j job) {
	file, err := j.open()
	if err != nil {
		k.fail(j.name, err)
		return
	}
	defer file.Close() //nolint:errcheck // it was only read
	var counted int64
	for try := 1; ; try++ {
		err = k.put(ctx, j, file, &counted)
		if !errors.Is(err, client.ErrUnavailable) || try == copyTries || !pause(ctx, err) {
			break
		}
	}
	if err != nil {
		k.fail(j.name, err)
		return
	}
	k.files.Add(1)
}

func (k *copying) put(ctx context.Context, j job, file *os.File, counted *int64) error {
	info, err := file.Stat()
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	opts := k.cfg.Options
	opts.Size, opts.Mode, opts.Mtime = info.Size(), info.Mode().Perm(), info.ModTime()
	content := &countingReader{r: io.LimitReader(file, info.Size()), all: &k.bytes, counted: counted}
	w, err := k.c.Put(ctx, j.to, content, opts)
	if err == nil && w.Size != info.Size() {
		return fmt.Errorf("%d bytes have arrived of %d", w.Size, info.Size())
	}
	return err
}

// pause waits as long as a filer asks, and reports whether ctx goes on.
func pause(ctx context.Context, err error) bool {
	wait := copyRetryWait
	var s *client.StatusError
	if errors.As(err, &s) && s.RetryAfter > 0 {
		wait = min(s.RetryAfter, copyMaxWait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// countingReader adds what is read for the first time to a sum.
type countingReader struct {
	r       io.Reader
	all     *atomic.Int64
	at      int64
	counted *int64 // of this file so far, in this try or one before
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.at += int64(n); c.at > *c.counted {
		c.all.Add(c.at - *c.counted)
		*c.counted = c.at
	}
	return n, err
}
