package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"weed/internal/upload"
	"weed/storage"
)

// inflate turns the content of a needle that is stored compressed into the uncompressed bytes, for a client
// that does not take gzip or that asks for a range. Short content is inflated in memory, long content while
// it is sent.
func (c *content) inflate() error {
	n := c.needle
	size, err := c.inflatedSize()
	if err != nil {
		return err
	}
	if c.blob == nil && size <= maxMemoryInflateSize {
		data, err := upload.Gunzip(nil, n.Data, int(maxMemoryInflateSize))
		if err != nil {
			return fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err)
		}
		plain := *n
		plain.Data, plain.Gzipped = data, false
		c.needle, c.size = &plain, int64(len(data))
		return nil
	}
	compressed := c.detach()
	c.blob, c.size = nil, size
	c.open = func(start, length int64) (io.ReadCloser, error) { return compressed.openInflated(start, length) }
	return nil
}

func (c *content) inflatedSize() (int64, error) {
	if c.blob != nil {
		return c.blob.ContentSize()
	}
	return storage.ContentSize(c.needle.Data, true), nil
}

// openInflated streams length bytes of the uncompressed content from start on, in bounded memory.
func (c *content) openInflated(start, length int64) (io.ReadCloser, error) {
	var source io.Reader = bytes.NewReader(c.needle.Data)
	if c.blob != nil {
		source = io.NewSectionReader(c.blob, 0, c.blob.DataSize())
	}
	z, err := gzip.NewReader(source)
	if err != nil {
		return nil, fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err)
	}
	if err := skip(z, start); err != nil {
		return nil, errors.Join(fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err), z.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(z, length), z}, nil
}

// inflatedLength reads a whole gzip stream and returns the length in bytes of its content. A damaged stream
// is errGzip, one with more content than limit is errTooLarge.
func inflatedLength(data []byte, limit int64) (int64, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errGzip, err)
	}
	size, err := io.Copy(io.Discard, io.LimitReader(z, limit+1))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errGzip, err)
	}
	if size > limit {
		return 0, fmt.Errorf("%w: more than %d bytes when inflated", errTooLarge, limit)
	}
	return size, nil
}
