package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/storage"
)

const (
	// deleteChunksTimeout bounds what a delete of a manifest does at other servers.
	deleteChunksTimeout = 30 * time.Second
	// deletesAtOnce bounds the requests that one delete of a manifest has under way.
	deletesAtOnce = 8
)

// errChunk: a manifest lists a chunk that is not there, or is not what the manifest says.
var errChunk = errors.New("a chunk of this file is missing or damaged")

// chunksReader streams the bytes from at to end of a file in chunks, one chunk at a time: from this server's
// store, else by a download.
//
// A chunk is a plain blob. One that is a manifest itself is refused, and never followed: manifests that list
// each other would have servers ask each other without end.
type chunksReader struct {
	server  *Server
	chunks  []manifestChunk // in order of their offsets
	at, end int64
	body    io.ReadCloser // of the chunk that holds at, nil between chunks
}

// openChunks streams length bytes from start on. The first chunk is open when it returns, so that a file
// whose beginning can't be read is answered with an error.
func (s *Server) openChunks(chunks []manifestChunk, start, length int64) (io.ReadCloser, error) {
	r := &chunksReader{server: s, chunks: chunks, at: start, end: start + length}
	if length > 0 {
		if err := r.open(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *chunksReader) Read(b []byte) (int, error) {
	for r.at < r.end {
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(b)
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

// open opens what is wanted of the chunk that holds r.at.
func (r *chunksReader) open() error {
	i, _ := slices.BinarySearchFunc(r.chunks, r.at, func(c manifestChunk, at int64) int {
		return cmp.Compare(c.end(), at+1) // the first chunk that ends behind at
	})
	if i == len(r.chunks) {
		return io.ErrUnexpectedEOF
	}
	c := &r.chunks[i]
	start, length := r.at-c.Offset, min(c.end(), r.end)-r.at
	var err error
	if v, ok := r.server.sureOf(c.id); ok {
		if r.body, err = openLocalChunk(v, c, start, length); isDamage(err) && r.server.heal(v, c.id.Key) {
			r.body, err = openLocalChunk(v, c, start, length)
		}
	} else {
		r.body, err = r.server.openRemoteChunk(c, start, length)
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, client.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", errChunk, err)
	}
	return fmt.Errorf("chunk %s at byte %d: %w", c.id, c.Offset, err)
}

// Close ends what is in progress.
func (r *chunksReader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}

func openLocalChunk(v *storage.Volume, c *manifestChunk, start, length int64) (io.ReadCloser, error) {
	b, err := v.Open(c.id.Key, c.id.Cookie)
	if err != nil {
		return nil, err
	}
	if b.Manifest {
		return nil, errManifest
	}
	data := content{needle: &b.Needle, blob: b, size: b.DataSize()}
	if b.Gzipped {
		if err := data.inflate(); err != nil {
			return nil, err
		}
	}
	if data.size != c.Size {
		return nil, fmt.Errorf("it has %d bytes", data.size)
	}
	return data.limited(start, length)
}

// openRemoteChunk downloads from a server that holds the chunk.
func (s *Server) openRemoteChunk(c *manifestChunk, start, length int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d, err := s.client.Download(ctx, c.id.String(), client.DownloadOptions{
		Range:       "bytes=" + strconv.FormatInt(start, 10) + "-" + strconv.FormatInt(start+length-1, 10),
		RawManifest: true,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	if d.Total != c.Size || d.Size != length {
		_ = d.Close()
		cancel()
		return nil, fmt.Errorf("it has %d bytes", d.Total)
	}
	return &download{d, cancel}, nil
}

// download is a client.Download with a context of its own.
type download struct {
	*client.Download
	cancel context.CancelFunc
}

func (d *download) Close() error {
	err := d.Download.Close()
	d.cancel()
	return err
}

// deleteChunks removes what a manifest lists. A chunk that is gone already is no error.
func (s *Server) deleteChunks(m *manifest) error {
	ctx, cancel := context.WithTimeout(context.Background(), deleteChunksTimeout)
	defer cancel()
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make([]error, min(deletesAtOnce, len(m.Chunks)))
	for w := range errs {
		workers.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(m.Chunks) {
					return
				}
				errs[w] = s.deleteChunk(ctx, m.Chunks[i].id)
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

func (s *Server) deleteChunk(ctx context.Context, id blob.FileID) error {
	if v, ok := s.store.Volume(id.Volume); ok && s.leads(id.Volume) {
		if _, err := v.Delete(id.Key, id.Cookie); err != nil && !isNotFound(err) {
			return fmt.Errorf("delete chunk %s: %w", id, err)
		}
		return nil
	}
	locations, err := s.client.Lookup(ctx, uint32(id.Volume))
	if isNotFound(err) {
		return nil
	}
	for _, l := range locations {
		var status int
		status, _, err = s.client.Forward(ctx, &client.Request{
			Method: fasthttp.MethodDelete, Host: l.URL, Path: "/" + id.String() + "?cm=false", Idempotent: true,
		}, nil)
		switch {
		case err == nil && (status < 300 || status == http.StatusNotFound):
			return nil
		case err == nil:
			err = fmt.Errorf("%w: %s answers %d", client.ErrUnavailable, l.URL, status)
		}
	}
	if err != nil {
		return fmt.Errorf("delete chunk %s: %w", id, err)
	}
	return nil
}
