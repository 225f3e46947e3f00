package filer

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weed/client"
)

// Entry is a file or a directory as a filer tells it.
type Entry struct {
	FullPath    string
	Mtime       time.Time
	Crtime      time.Time
	Mode        fs.FileMode
	UID         uint32 `json:"Uid"`
	GID         uint32 `json:"Gid"`
	Mime        string
	Replication string
	Collection  string
	TTLSec      int64             `json:"TtlSec"`     // 0 for ever
	Expires     int64             `json:",omitempty"` // unix seconds, 0 for never
	MD5         []byte            `json:"Md5"`
	FileSize    int64             // bytes
	Extended    map[string][]byte // tags
	Chunks      []Chunk           `json:"chunks"`
}

// Chunk is a blob that holds a piece of a file.
type Chunk struct {
	FID    string `json:"file_id"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	Mtime  int64  `json:"mtime"` // unix nanoseconds
	ETag   string `json:"e_tag"`
}

// IsDir reports whether the entry is a directory.
func (e *Entry) IsDir() bool { return e.Mode.IsDir() }

// Name returns the last segment of the path, "" of the root.
func (e *Entry) Name() string {
	for i := len(e.FullPath) - 1; i >= 0; i-- {
		if e.FullPath[i] == '/' {
			return e.FullPath[i+1:]
		}
	}
	return e.FullPath
}

// PutOptions say how a file is kept. What is zero is left to the filer and its rules.
type PutOptions struct {
	Collection, Replication, TTL, DataCenter string

	MaxMB      int         // size of chunks
	Mode       fs.FileMode // permissions
	Mtime      time.Time   // of the content; zero: when it is written. Before 1970 it counts as 1970
	Mime       string
	Append     bool // to the file that is there, if one is
	CreateOnly bool // client.StatusError with 412 if something is there
	IfMatch    string
	// Size is how many bytes will be read; 0 means that it is not known.
	Size int64
	Tags map[string]string // Seaweed-Name: value
}

// Written is what became of a Put.
type Written struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
	ETag string `json:"-"`    // of the whole content, "" after an append
}

// Put stores what content yields at a path, in place of a file that is there. Missing directories are made. When
// content fails, nothing has changed. The outcome of client.ErrUnavailable is unknown: the file as it was, or whole.
func (c *Client) Put(ctx context.Context, path string, content io.Reader, opts PutOptions) (Written, error) {
	q, h := url.Values{}, http.Header{}
	for _, p := range [...]struct{ name, value string }{
		{"collection", opts.Collection}, {"replication", opts.Replication}, {"ttl", opts.TTL}, {"dataCenter", opts.DataCenter},
	} {
		if p.value != "" {
			q.Set(p.name, p.value)
		}
	}
	if opts.MaxMB > 0 {
		q.Set("maxMB", strconv.Itoa(opts.MaxMB))
	}
	if opts.Mode != 0 {
		q.Set("mode", strconv.FormatUint(uint64(opts.Mode.Perm()), 8))
	}
	if !opts.Mtime.IsZero() {
		at := opts.Mtime
		if at.Unix() < 0 {
			at = time.Unix(0, 0)
		}
		q.Set("ts", fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()))
	}
	if opts.Append {
		q.Set("op", "append")
	}
	if opts.CreateOnly {
		h.Set("If-None-Match", "*")
	}
	if opts.IfMatch != "" {
		h.Set("If-Match", opts.IfMatch)
	}
	if opts.Mime != "" {
		h.Set("Content-Type", opts.Mime)
	}
	for name, value := range opts.Tags {
		h.Set("Seaweed-"+name, value)
	}
	size := int64(-1)
	if opts.Size > 0 {
		size = opts.Size
	}
	var w Written
	head, err := c.call(ctx, request{http.MethodPut, path, q, h, content, size}, &w)
	w.ETag = head.Get("ETag")
	return w, err
}

// GetOptions say which part of a file is wanted.
type GetOptions struct {
	Offset int64 // first byte
	Length int64 // at most so many bytes; 0 for all
}

// Download is the content of a file as it comes. A Read that ends early is io.ErrUnexpectedEOF.
type Download struct {
	io.ReadCloser
	Size int64 // bytes that will be read, -1 when the filer does not tell
	Mime string
	ETag string
}

// Get opens a file. The caller closes what it returns. An offset at or behind the end is client.ErrInvalid, a
// directory client.ErrInvalid too.
func (c *Client) Get(ctx context.Context, path string, opts GetOptions) (*Download, error) {
	h := http.Header{}
	// What is no file has no ranges: a listing never passes for content.
	if opts.Offset > 0 || opts.Length > 0 {
		last := ""
		if opts.Length > 0 {
			last = strconv.FormatInt(opts.Offset+opts.Length-1, 10)
		}
		h.Set("Range", fmt.Sprintf("bytes=%d-%s", opts.Offset, last))
	}
	answer, err := c.send(ctx, request{method: http.MethodGet, path: path, header: h})
	if err != nil {
		return nil, err
	}
	ranged := h.Get("Range") != ""
	if answer.Header.Get("Accept-Ranges") == "" || ranged != (answer.StatusCode == http.StatusPartialContent) {
		_ = answer.Body.Close() // there is a better complaint
		return nil, fmt.Errorf("%w: %s is a directory, or the filer sends no ranges of it", client.ErrInvalid, path)
	}
	return &Download{ReadCloser: answer.Body, Size: answer.ContentLength,
		Mime: answer.Header.Get("Content-Type"), ETag: answer.Header.Get("ETag")}, nil
}

// Stat returns the entry at a path.
func (c *Client) Stat(ctx context.Context, path string) (Entry, error) {
	var e Entry
	_, err := c.call(ctx, request{method: http.MethodGet, path: path, query: url.Values{"metadata": {"true"}}}, &e)
	return e, err
}

// Mkdir makes a directory with those above it; one that is there is left as it is.
func (c *Client) Mkdir(ctx context.Context, path string) error {
	_, err := c.call(ctx, request{method: http.MethodPost, path: withSlash(path)}, nil)
	return err
}

// Delete deletes a file, or a directory that is empty, or with recursive one with all that is in it. What is not
// there is no error.
func (c *Client) Delete(ctx context.Context, path string, recursive bool) error {
	q := url.Values{}
	if recursive {
		q.Set("recursive", "true")
	}
	_, err := c.call(ctx, request{method: http.MethodDelete, path: path, query: q}, nil)
	return err
}

// Rename moves a file or a directory, in place of a file that was there; into a directory if to ends in a slash.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	_, err := c.call(ctx, request{method: http.MethodPost, path: to, query: url.Values{"mv.from": {from}}}, nil)
	return err
}

// ListOptions say which entries of a directory are wanted.
type ListOptions struct {
	After   string // names behind this one
	Pattern string // of names, with * and ?; "" for all
	Page    int    // entries that are asked for at once; 0 means 1000
}

// List yields the entries of a directory in byte order of their names, page by page. After an error it ends.
func (c *Client) List(ctx context.Context, dir string, opts ListOptions) iter.Seq2[Entry, error] {
	if opts.Page <= 0 {
		opts.Page = 1000
	}
	return func(yield func(Entry, error) bool) {
		q := url.Values{"limit": {strconv.Itoa(opts.Page)}}
		if opts.Pattern != "" {
			q.Set("namePattern", opts.Pattern)
		}
		for after := opts.After; ; {
			if after != "" {
				q.Set("lastFileName", after)
			}
			var page struct {
				Entries               []Entry
				LastFileName          string
				ShouldDisplayLoadMore bool
			}
			h := http.Header{"Accept": {"application/json"}}
			if _, err := c.call(ctx, request{method: http.MethodGet, path: withSlash(dir), query: q, header: h}, &page); err != nil {
				yield(Entry{}, err)
				return
			}
			for i := range page.Entries {
				if !yield(page.Entries[i], nil) {
					return
				}
			}
			if !page.ShouldDisplayLoadMore || page.LastFileName == "" {
				return
			}
			after = page.LastFileName
		}
	}
}

func withSlash(path string) string {
	if path != "" && path[len(path)-1] == '/' {
		return path
	}
	return path + "/"
}
