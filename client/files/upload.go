package files

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"sync"

	"weed/client"
)

// UploadConfig says what to upload and how.
type UploadConfig struct {
	Files   []string // paths of regular files
	Dir     string   // a directory whose regular files are taken too, with all below; "" is none
	Include string   // pattern of filepath.Match for the base names below Dir, "" is all
	// MaxMB is the size in MiB above which a file is cut into chunks of that size; 0 never cuts.
	MaxMB int

	Collection  string
	Replication string // three digits xyz, "" is the masters' default
	TTL         string // "3m", "4h", "5d" …, "" is for ever
}

// Uploaded is what became of one file.
type Uploaded struct {
	FileName string `json:"fileName"` // base name
	FileURL  string `json:"fileUrl,omitempty"`
	FID      string `json:"fid,omitempty"`
	Size     int64  `json:"size"` // bytes of the file
	Error    string `json:"error,omitempty"`
}

// Upload stores files: cfg.Files in their order, then those of cfg.Dir in the order of their paths. A
// pattern that is none, or a directory that cannot be read, is an error without results.
func Upload(ctx context.Context, c *client.Client, cfg UploadConfig) ([]Uploaded, error) {
	if cfg.MaxMB < 0 || cfg.MaxMB > 1<<20 {
		return nil, fmt.Errorf("%w: chunks of %d MB", client.ErrInvalid, cfg.MaxMB)
	}
	names, err := cfg.names()
	if err != nil {
		return nil, err
	}
	results := make([]Uploaded, len(names))
	var mu sync.Mutex
	failed := 0
	each(len(names), func(i int) {
		r := &results[i]
		r.FileName = filepath.Base(names[i])
		if err := uploadFile(ctx, c, &cfg, names[i], r); err != nil {
			r.Error = err.Error()
			mu.Lock()
			failed++
			mu.Unlock()
		}
	})
	return results, outcome(ctx, failed, len(names))
}

// names lists what is to be uploaded.
func (cfg *UploadConfig) names() ([]string, error) {
	names := append([]string(nil), cfg.Files...)
	if cfg.Dir == "" {
		return names, nil
	}
	err := filepath.WalkDir(cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		match, err := filepath.Match(cmp.Or(cfg.Include, "*"), d.Name())
		if match {
			names = append(names, path)
		}
		return err
	})
	return names, err
}

func (cfg *UploadConfig) assign() client.AssignOptions {
	return client.AssignOptions{Collection: cfg.Collection, Replication: cfg.Replication, TTL: cfg.TTL}
}

func uploadFile(ctx context.Context, c *client.Client, cfg *UploadConfig, path string, r *Uploaded) (err error) {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // to open a pipe waits for somebody who writes to it
		return fmt.Errorf("%w: %s is not a regular file", client.ErrInvalid, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if info, err = f.Stat(); err != nil {
		return err
	}
	r.Size = info.Size()
	b := client.Blob{Name: r.FileName, Mime: mime.TypeByExtension(filepath.Ext(path)), ModTime: info.ModTime()}
	var s client.Submitted
	if chunkBytes := int64(cfg.MaxMB) << 20; chunkBytes > 0 && r.Size > chunkBytes {
		s, err = uploadChunks(ctx, c, cfg, f, r.Size, chunkBytes, b)
	} else {
		b.Reader, b.Size = io.NewSectionReader(f, 0, r.Size), r.Size
		s, err = c.Submit(ctx, cfg.assign(), &b)
	}
	if err != nil {
		return err
	}
	r.FID, r.FileURL = s.FID, cmp.Or(s.PublicURL, s.URL)+"/"+s.FID
	return nil
}

// manifest is the body of a blob that stands for its chunks.
type manifest struct {
	Name   string  `json:"name,omitempty"`
	Mime   string  `json:"mime,omitempty"`
	Size   int64   `json:"size"`
	Chunks []chunk `json:"chunks"`
}

type chunk struct {
	FID    string `json:"fid"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
}

// uploadChunks stores r in pieces and then the manifest, described by b, that holds them together. When it
// fails it deletes the pieces again, as far as it can.
func uploadChunks(ctx context.Context, c *client.Client, cfg *UploadConfig, r io.ReaderAt, size, chunkBytes int64, b client.Blob) (client.Submitted, error) {
	m := manifest{Name: b.Name, Mime: b.Mime, Size: size, Chunks: make([]chunk, (size+chunkBytes-1)/chunkBytes)}
	rest, giveUp := context.WithCancelCause(ctx) // of the chunks that have not begun
	defer giveUp(nil)
	each(len(m.Chunks), func(i int) {
		if rest.Err() != nil {
			return
		}
		offset := int64(i) * chunkBytes
		n := min(chunkBytes, size-offset)
		s, err := c.Submit(ctx, cfg.assign(), &client.Blob{
			Name: fmt.Sprintf("%s-%d", b.Name, i+1), Mime: "application/octet-stream",
			Reader: io.NewSectionReader(r, offset, n), Size: n,
		})
		if err != nil {
			// The others are in vain, but one that is broken off may be stored all the same, under a fid that
			// nobody gets to know.
			giveUp(fmt.Errorf("chunk %d: %w", i+1, err))
			return
		}
		m.Chunks[i] = chunk{FID: s.FID, Offset: offset, Size: n}
	})
	err := context.Cause(rest)
	var s client.Submitted
	if err == nil {
		if b.Data, err = json.Marshal(m); err == nil {
			b.Mime, b.Manifest = "application/json", true
			s, err = c.Submit(ctx, cfg.assign(), &b)
		}
	}
	if err != nil {
		err = errors.Join(err, dropChunks(context.WithoutCancel(ctx), c, m.Chunks))
	}
	return s, err
}

// dropChunks deletes what a failed upload has left.
func dropChunks(ctx context.Context, c *client.Client, chunks []chunk) error {
	var fids []string
	for _, ch := range chunks {
		if ch.FID != "" {
			fids = append(fids, ch.FID)
		}
	}
	for _, r := range c.DeleteMany(ctx, fids) {
		if r.Err != nil && !errors.Is(r.Err, client.ErrNotFound) {
			return fmt.Errorf("a chunk is left behind: %w", r.Err)
		}
	}
	return nil
}
