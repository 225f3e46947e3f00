package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"

	"weed/internal/upload"
	"weed/storage"
)

// maxMemoryInflateBytes is the length of content up to which it is inflated in memory before it is sent.
const maxMemoryInflateBytes = int64(1 << 20)

var errGzip = errors.New("Content-Encoding is gzip but the content is not one valid gzip stream")

// gzipReaders keeps the windows and tables of decoders.
var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// inflate turns the content of a needle that is stored compressed into the uncompressed bytes, for a client
// that does not take gzip or that asks for a range. Short content is inflated in memory, long content while
// it is sent.
func (c *content) inflate() error {
	n := c.needle
	size, err := c.inflatedSize()
	if err != nil {
		return err
	}
	if c.blob == nil && size <= maxMemoryInflateBytes {
		data, err := upload.Gunzip(nil, n.Data, int(maxMemoryInflateBytes))
		if err != nil {
			return fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err)
		}
		plain := *n
		plain.Data, plain.Gzipped = data, false
		c.needle, c.size = &plain, int64(len(data))
		return nil
	}
	compressed := c.detach()
	c.blob, c.size, c.forward = nil, size, true
	c.open = func(start, length int64) (io.ReadCloser, error) {
		return compressed.openInflated(start, length, size)
	}
	return nil
}

func (c *content) inflatedSize() (int64, error) {
	if c.blob != nil {
		return c.blob.ContentSize()
	}
	return storage.ContentSize(c.needle.Data, true), nil
}

// stored returns the bytes of a needle as they are stored.
func (c *content) stored() io.Reader {
	if c.blob != nil {
		return io.NewSectionReader(c.blob, 0, c.blob.DataSize())
	}
	return bytes.NewReader(c.needle.Data)
}

// inflatedHead returns up to n bytes from the beginning of the uncompressed content, fewer if it is damaged.
func (c *content) inflatedHead(n int) []byte {
	z := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(z)
	if z.Reset(c.stored()) != nil {
		return nil
	}
	head := make([]byte, n)
	n, _ = io.ReadFull(z, head) // what can't be read is not guessed from
	return head[:n]
}

// openInflated streams length bytes of the uncompressed content from start on, in bounded memory. size is
// the length of the whole.
func (c *content) openInflated(start, length, size int64) (io.ReadCloser, error) {
	z := gzipReaders.Get().(*gzip.Reader)
	r := &inflater{z: z, end: start + length, size: size}
	err := z.Reset(c.stored())
	if err == nil {
		err = skip(z, start)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err), r.Close())
	}
	r.at = start
	return r, nil
}

// inflater reads uncompressed content up to end. Where that is the end of the whole, it holds back the last
// byte until the stream has been found complete and sound, so that damage is never taken for success.
type inflater struct {
	z             *gzip.Reader // nil after Close
	at, end, size int64
}

func (r *inflater) Read(b []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	n, err := r.z.Read(b[:min(int64(len(b)), r.end-r.at)])
	r.at += int64(n)
	switch {
	case err == io.EOF && r.at == r.size:
		return n, nil // sound
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case err == nil && n > 0 && r.at == r.size:
		var beyond [1]byte
		if m, e := r.z.Read(beyond[:]); m > 0 || e != io.EOF {
			n, err = n-1, errors.Join(errors.New("the content is longer than its gzip stream says, or damaged"), e)
		}
	}
	if err != nil {
		return n, fmt.Errorf("inflate: %w: %w", storage.ErrCorrupt, err)
	}
	return n, nil
}

// Close gives the decoder back.
func (r *inflater) Close() error {
	if r.z == nil {
		return nil
	}
	err := r.z.Close()
	gzipReaders.Put(r.z)
	r.z = nil
	return err
}

// inflateTo writes the content of data to w. Anything but one intact gzip stream is errGzip, more content
// than limit bytes is errTooLarge.
func inflateTo(w io.Writer, data []byte, limit int64) error {
	z := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(z)
	source := bytes.NewReader(data)
	if err := z.Reset(source); err != nil {
		return fmt.Errorf("%w: %w", errGzip, err)
	}
	z.Multistream(false)
	size, err := io.Copy(w, io.LimitReader(z, limit+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errGzip, err)
	case size > limit:
		return fmt.Errorf("%w: more than %d bytes when inflated", errTooLarge, limit)
	case source.Len() > 0:
		// The length at the end of data must be that of the whole content.
		return fmt.Errorf("%w: something follows it; compress the content as a whole", errGzip)
	}
	return nil
}

// skip reads and forgets n bytes.
func skip(r io.Reader, n int64) error {
	_, err := io.CopyN(io.Discard, r, n)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
