package files

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"weed/client"
	"weed/internal/blob"
)

// DownloadConfig says what to download and where to.
type DownloadConfig struct {
	Dir  string // directory that the files go to, made if need be; "" is the current one
	FIDs []string
}

// Downloaded is what became of one fid.
type Downloaded struct {
	FID      string `json:"fid"`
	FileName string `json:"fileName,omitempty"` // path of the file
	Size     int64  `json:"size"`
	Error    string `json:"error,omitempty"`
}

// Download reads blobs into files in cfg.Dir, each under the name that the blob was stored with, or under its
// fid where there is no such name, it is not a plain file name, or another blob of the call has it. A file of
// that name from before is replaced, at once and only by a complete one. A directory that cannot be made is an
// error without results.
func Download(ctx context.Context, c *client.Client, cfg DownloadConfig) ([]Downloaded, error) {
	d := downloads{c: c, dir: cmp.Or(cfg.Dir, "."), taken: make(map[string]bool)}
	if err := os.MkdirAll(d.dir, 0o777); err != nil {
		return nil, err
	}
	results := make([]Downloaded, len(cfg.FIDs))
	var mu sync.Mutex
	failed := 0
	each(len(cfg.FIDs), func(i int) {
		r := &results[i]
		r.FID = cfg.FIDs[i]
		if err := d.one(ctx, r); err != nil {
			r.Error = err.Error()
			mu.Lock()
			failed++
			mu.Unlock()
		}
	})
	return results, outcome(ctx, failed, len(cfg.FIDs))
}

// downloads is one call of Download under way.
type downloads struct {
	c   *client.Client
	dir string

	mu    sync.Mutex
	taken map[string]bool // names that this call has given out
}

func (d *downloads) one(ctx context.Context, r *Downloaded) (err error) {
	in, err := d.c.Download(ctx, r.FID, client.DownloadOptions{})
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // Read has told every failure
	id, err := blob.ParseFileID(r.FID)
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, d.name(in.Name, id.String()))
	temp := filepath.Join(d.dir, ".weed-"+rand.Text())
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp))
		}
	}()
	n, err := io.Copy(out, in)
	if err == nil {
		err = out.Sync() // before the name: it must never stand for an empty file
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if !in.LastModified.IsZero() {
		if err := os.Chtimes(temp, time.Time{}, in.LastModified); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil { // who has given up is not surprised by a file, even if all of it had come
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	r.FileName, r.Size = path, n
	return nil
}

// name returns the name of the file for a blob: told is what the store says.
func (d *downloads) name(told, fid string) string {
	name := safeName(told, fid)
	d.mu.Lock()
	defer d.mu.Unlock()
	for n := 1; d.taken[name]; n++ {
		if name = fid; n > 1 {
			name += "-" + strconv.Itoa(n)
		}
	}
	d.taken[name] = true
	return name
}

// maxNameBytes is the limit of nearly every file system.
const maxNameBytes = 255

// safeName returns the last element of a name that somebody else chose, if it is a plain file name, else
// fallback. Both kinds of slashes separate elements.
func safeName(name, fallback string) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	bad := name == "" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || len(name) > maxNameBytes ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == ':' || r == 0xfffd })
	if bad {
		return fallback
	}
	return name
}
