package volume

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/storage"
)

// maxManifestChunks bounds a manifest.
const maxManifestChunks = 100_000

var errManifest = errors.New("malformed chunk manifest")

// manifest describes a large file that is stored in pieces.
type manifest struct {
	Name   string          `json:"name,omitempty"`
	Mime   string          `json:"mime,omitempty"`
	Size   int64           `json:"size,omitempty"`
	Chunks []manifestChunk `json:"chunks,omitempty"`
}

type manifestChunk struct {
	FID    string `json:"fid"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
}

// parseManifest reads a manifest and checks that its chunks, put in order, cover the size without a gap or
// an overlap.
func parseManifest(text []byte) (*manifest, error) {
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	if len(m.Chunks) > maxManifestChunks {
		return nil, fmt.Errorf("%w: %d chunks, at most %d", errManifest, len(m.Chunks), maxManifestChunks)
	}
	slices.SortStableFunc(m.Chunks, func(a, b manifestChunk) int { return cmp.Compare(a.Offset, b.Offset) })
	end := int64(0)
	for _, c := range m.Chunks {
		if _, err := blob.ParseFileID(c.FID); err != nil {
			return nil, fmt.Errorf("%w: %w", errManifest, err)
		}
		if c.Offset != end || c.Size < 0 || end+c.Size < end {
			return nil, fmt.Errorf("%w: chunk %s of %d bytes at %d does not follow on byte %d", errManifest, c.FID, c.Size, c.Offset, end)
		}
		end += c.Size
	}
	if end != m.Size {
		return nil, fmt.Errorf("%w: its chunks have %d bytes, its size says %d", errManifest, end, m.Size)
	}
	return &m, nil
}

// getManifest answers a GET of a manifest with the file that it describes.
func (s *Server) getManifest(ctx *fasthttp.RequestCtx, p *blob.Path, c *content) {
	data := c.needle.Data
	if c.blob != nil {
		data = make([]byte, c.blob.DataSize())
		if _, err := c.blob.ReadAt(data, 0); err != nil {
			s.fail(ctx, err)
			return
		}
	}
	m, err := parseManifest(data)
	if err != nil {
		s.fail(ctx, fmt.Errorf("%w: %w", storage.ErrCorrupt, err))
		return
	}
	n := *c.needle
	n.Data, n.Gzipped = nil, false
	if m.Name != "" {
		n.Name = []byte(m.Name)
	}
	n.Mime = []byte(m.Mime)
	if m.Mime == "" && len(n.Name) == 0 {
		n.Mime = []byte(defaultMime)
	}
	r := readers.Get().(*reader)
	defer readers.Put(r)
	s.send(ctx, p, &content{
		needle: &n,
		size:   m.Size,
		open: func(start, length int64) (io.ReadCloser, error) {
			return &chunksReader{server: s, chunks: m.Chunks, at: start, end: start + length}, nil
		},
	}, r)
}

// chunksReader streams the bytes from at to end of a file in chunks, one download at a time.
type chunksReader struct {
	server  *Server
	chunks  []manifestChunk // in order of their offsets
	at, end int64
	body    *client.Download // of the chunk that holds at, nil between chunks
	cancel  context.CancelFunc
}

func (r *chunksReader) Read(b []byte) (int, error) {
	for r.at < r.end {
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(b[:min(int64(len(b)), r.end-r.at)])
		r.at += int64(n)
		if err == io.EOF {
			err = r.Close()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

// open downloads the rest of the chunk that holds r.at.
func (r *chunksReader) open() error {
	i, found := slices.BinarySearchFunc(r.chunks, r.at, func(c manifestChunk, at int64) int {
		return cmp.Compare(c.Offset+c.Size, at+1) // the first chunk that ends behind at
	})
	if !found && i == len(r.chunks) {
		return io.ErrUnexpectedEOF
	}
	c := r.chunks[i]
	last := min(c.Offset+c.Size, r.end) - c.Offset - 1
	ctx, cancel := context.WithCancel(context.Background())
	body, err := r.server.client.Download(ctx, c.FID, client.DownloadOptions{
		Range: "bytes=" + strconv.FormatInt(r.at-c.Offset, 10) + "-" + strconv.FormatInt(last, 10),
	})
	if err != nil {
		cancel()
		return fmt.Errorf("chunk %s at byte %d: %w", c.FID, c.Offset, err)
	}
	r.body, r.cancel = body, cancel
	return nil
}

// Close ends the download in progress.
func (r *chunksReader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.cancel()
	r.body = nil
	return err
}
