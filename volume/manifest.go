package volume

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/upload"
	"weed/storage"
)

// Bounds of a manifest.
const (
	maxManifestBytes  = 16 << 20
	maxManifestChunks = 100_000
)

var errManifest = errors.New("malformed chunk manifest")

// manifest describes a large file that is stored in pieces.
type manifest struct {
	Name   string    `json:"name"`
	Mime   string    `json:"mime"`
	Size   int64     `json:"size"`
	Chunks chunkList `json:"chunks"`
}

type manifestChunk struct {
	FID    string `json:"fid"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`

	id blob.FileID // FID, parsed
}

func (c *manifestChunk) end() int64 { return c.Offset + c.Size }

// chunkList is decoded one by one: a hostile list would take many times its own length in memory.
type chunkList []manifestChunk

// UnmarshalJSON implements json.Unmarshaler.
func (l *chunkList) UnmarshalJSON(text []byte) error {
	*l = nil
	if string(text) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("chunks are not a list")
	}
	for d.More() {
		var c manifestChunk
		if len(*l) == maxManifestChunks {
			return fmt.Errorf("more than %d chunks", maxManifestChunks)
		}
		if err := d.Decode(&c); err != nil {
			return err
		}
		*l = append(*l, c)
	}
	return nil
}

// parseManifest reads a manifest, puts its chunks in order and checks that they cover the size without a gap
// or an overlap. Errors are of the kind errManifest.
func parseManifest(text []byte) (*manifest, error) {
	if len(text) > maxManifestBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errManifest, len(text), maxManifestBytes)
	}
	var m *manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", errManifest, err)
	}
	if m == nil {
		return nil, fmt.Errorf("%w: null", errManifest)
	}
	slices.SortStableFunc(m.Chunks, func(a, b manifestChunk) int {
		// A chunk without bytes goes before the one that begins at its place.
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Size, b.Size))
	})
	end := int64(0)
	for i := range m.Chunks {
		c := &m.Chunks[i]
		var err error
		if c.id, err = blob.ParseFileID(c.FID); err != nil {
			return nil, fmt.Errorf("%w: %w", errManifest, err)
		}
		if c.Offset != end || c.Size < 0 || c.Size > math.MaxInt64-end {
			return nil, fmt.Errorf("%w: chunk %s of %d bytes at %d does not follow on byte %d", errManifest, c.id, c.Size, c.Offset, end)
		}
		end = c.end()
	}
	if end != m.Size {
		return nil, fmt.Errorf("%w: its chunks have %d bytes, its size says %d", errManifest, end, m.Size)
	}
	return m, nil
}

// manifestOf reads the manifest that a needle in memory holds, compressed or not.
func manifestOf(n *storage.Needle) (*manifest, error) {
	text := n.Data
	if n.Gzipped {
		var err error
		if text, err = upload.Gunzip(nil, text, maxManifestBytes); err != nil {
			return nil, fmt.Errorf("%w: %w", errManifest, err)
		}
	}
	return parseManifest(text)
}

// readManifest reads the manifest that an open blob holds. One that makes no sense is storage.ErrCorrupt.
func readManifest(b *storage.Blob) (*manifest, error) {
	if b.DataSize() > maxManifestBytes {
		return nil, fmt.Errorf("%w: a chunk manifest of %d bytes", storage.ErrCorrupt, b.DataSize())
	}
	n := b.Needle
	n.Data = make([]byte, b.DataSize())
	if _, err := b.ReadAt(n.Data, 0); err != nil {
		return nil, err
	}
	m, err := manifestOf(&n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	return m, nil
}

// getManifest answers a GET of a manifest with the file that it describes.
func (s *Server) getManifest(ctx *fasthttp.RequestCtx, p *blob.Path, c *content, r *reader) {
	var m *manifest
	var err error
	if c.blob != nil {
		m, err = readManifest(c.blob)
	} else if m, err = manifestOf(c.needle); err != nil {
		err = fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	n := *c.needle
	n.Data, n.Gzipped = nil, false
	if name := cleanName(m.Name); len(name) > 0 {
		n.Name = name
	}
	// The stored type is that of the manifest, and the first bytes are far away.
	n.Mime = []byte(cmp.Or(m.Mime, upload.TypeByName(cmp.Or(p.Name, string(n.Name))), upload.TypeByName(p.Ext), defaultMime))
	s.send(ctx, p, &content{
		needle: &n,
		size:   m.Size,
		open: func(start, length int64) (io.ReadCloser, error) {
			return s.openChunks(m.Chunks, start, length)
		},
	}, r)
}
