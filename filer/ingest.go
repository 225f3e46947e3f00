package filer

import (
	"context"
	"crypto/md5" //nolint:gosec // ETags and Content-MD5 (RFC 1864), not signatures
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/upload"
)

const (
	uploadsAtOnce  = 4 // chunks of one request that are on their way
	uploadAttempts = 4 // volumes that are tried for one chunk
)

// errSource marks a failure of the client's body, as opposed to one of the volume servers.
var errSource = errors.New("the body broke off: send it again")

// ingested is a content that has become blobs. Its slots are to be settled or abandoned.
type ingested struct {
	chunks []Chunk
	slots  []slot
	md5    [md5.Size]byte
	size   int64
	mime   string // guessed from the first bytes, "" if they say nothing
}

// ingest cuts what r yields into chunks and uploads them. On an error nothing is left to settle: what had been
// uploaded is abandoned. declared is the length that is expected, -1 if it is not known; it only chooses sizes.
func (f *Filer) ingest(ctx context.Context, r io.Reader, declared int64, at place, chunkBytes int64, mime string) (ingested, error) {
	if held, ok := r.(*heldBody); ok {
		guessed := guess(mime, held.data)
		in, err := f.ingestOne(ctx, held.data, at, mime+guessed)
		in.mime = guessed
		return in, err
	}
	first, err := f.buffers.get(ctx, firstBuffer(declared, chunkBytes))
	if err != nil {
		return ingested{}, err
	}
	buf, n, ended, err := f.fill(r, first, chunkBytes)
	if err != nil {
		f.buffers.put(buf)
		return ingested{}, fmt.Errorf("%w: %w", errSource, err)
	}
	guessed := guess(mime, buf[:n])
	var in ingested
	if ended {
		in, err = f.ingestOne(ctx, buf[:n], at, mime+guessed)
		f.buffers.put(buf)
	} else {
		in, err = f.ingestMany(ctx, r, buf, n, at, chunkBytes)
	}
	in.mime = guessed
	return in, err
}

// defaultMime is the type of what is not known.
const defaultMime = "application/octet-stream"

// guess returns what a content looks like from its beginning, "" if that says nothing or its type is known.
func guess(mime string, head []byte) string {
	if mime != "" || len(head) == 0 {
		return ""
	}
	if guessed := upload.Sniff(head); guessed != defaultMime {
		return guessed
	}
	return ""
}

// firstBuffer returns the size of the buffer that a body begins with.
func firstBuffer(declared, chunkBytes int64) int {
	n := int64(firstBufferBytes)
	if declared >= 0 && declared < n {
		n = declared + 1 // one more, to see the end
	}
	return classOf(min(n, chunkBytes))
}

// fill reads into buf until a chunk is full, the body ends, there is no memory for a larger buffer, or FillTime is
// over: so the memory that a slow client holds is small. The buffer that it returns takes the place of buf, also on an
// error.
func (f *Filer) fill(r io.Reader, buf []byte, chunkBytes int64) (_ []byte, n int, ended bool, err error) {
	begun := time.Now()
	for {
		limit := int(min(int64(len(buf)), chunkBytes))
		for n < limit {
			m, err := r.Read(buf[n:limit])
			n += m
			if err == io.EOF {
				return buf, n, true, nil
			}
			if err != nil {
				return buf, n, false, err
			}
			if n > 0 && time.Since(begun) > f.cfg.FillTime {
				return buf, n, false, nil
			}
		}
		if int64(n) >= chunkBytes {
			return buf, n, false, nil
		}
		larger := f.buffers.try(bufferFor(int64(n)*4, chunkBytes))
		if larger == nil {
			return buf, n, false, nil
		}
		copy(larger, buf[:n])
		f.buffers.put(buf)
		buf = larger
	}
}

// bufferFor returns the size of a buffer for n bytes of a chunk: no more than the chunk's.
func bufferFor(n, chunkBytes int64) int {
	if n >= chunkBytes {
		return int(chunkBytes)
	}
	return min(classOf(n), int(chunkBytes))
}

// ingestOne uploads a content that is a single chunk, or none if it is empty.
func (f *Filer) ingestOne(ctx context.Context, data []byte, at place, mime string) (ingested, error) {
	in := ingested{size: int64(len(data)), md5: md5.Sum(data)} //nolint:gosec // see the import
	if len(data) == 0 {
		return in, nil
	}
	at.large = len(data) >= largeFromBytes
	c, s, err := f.uploadChunk(ctx, data, at, mime)
	if err != nil {
		return ingested{}, err
	}
	in.chunks, in.slots = []Chunk{c}, []slot{s}
	return in, nil
}

// conveyor is the upload of a content of several chunks.
type conveyor struct {
	f      *Filer
	at     place
	cancel context.CancelFunc
	group  sync.WaitGroup
	tokens chan struct{} // uploadsAtOnce
	sum    hash.Hash
	hashed chan struct{} // the chunk before has gone into sum

	mu     sync.Mutex
	chunks []Chunk
	slots  []slot
	err    error // the first failure
}

// ingestMany uploads the n bytes of buf, which is given away, and all that r yields besides.
func (f *Filer) ingestMany(ctx context.Context, r io.Reader, buf []byte, n int, at place, chunkBytes int64) (ingested, error) {
	at.large = true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := &conveyor{f: f, at: at, cancel: cancel, tokens: make(chan struct{}, uploadsAtOnce),
		sum: md5.New(), hashed: make(chan struct{})} //nolint:gosec // see the import
	close(v.hashed)
	var size int64
	var err error
	for ended := false; ; {
		size += int64(n)
		want := chunkBytes
		if n < len(buf) { // it is slow
			want = min(want, int64(classOf(max(2*int64(n), firstBufferBytes))))
		}
		v.send(ctx, buf, n)
		if ended {
			break
		}
		if buf, err = f.nextBuffer(ctx, v, want); err != nil {
			break
		}
		buf, n, ended, err = f.fill(r, buf, chunkBytes)
		if err != nil {
			err = fmt.Errorf("%w: %w", errSource, err)
		}
		if err != nil || n == 0 {
			f.buffers.put(buf)
			break
		}
	}
	if err != nil {
		cancel()
	}
	v.group.Wait()
	if v.err != nil && (err == nil || ctx.Err() != nil && !errors.Is(err, errSource)) {
		err = v.err
	}
	if err != nil {
		f.claims.abandon(used(v.slots)...)
		return ingested{}, err
	}
	in := ingested{chunks: v.chunks, slots: v.slots, size: size}
	v.sum.Sum(in.md5[:0])
	return in, nil
}

// nextBuffer waits until fewer than uploadsAtOnce chunks are on their way, and returns memory for the next one: as much
// as is wanted if that is there, else a little, which nobody has to wait long for. This request holds no buffer that is
// not on its way and freed by itself.
func (f *Filer) nextBuffer(ctx context.Context, v *conveyor, want int64) ([]byte, error) {
	select {
	case v.tokens <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	<-v.tokens // send takes it again
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if b := f.buffers.try(int(want)); b != nil {
		return b, nil
	}
	return f.buffers.get(ctx, bufferFor(firstBufferBytes, want))
}

// send uploads a chunk in the background, and gives its buffer back.
func (v *conveyor) send(ctx context.Context, buf []byte, n int) {
	v.tokens <- struct{}{}
	before, hashed := v.hashed, make(chan struct{})
	v.hashed = hashed
	i := len(v.chunks)
	v.mu.Lock()
	v.chunks, v.slots = append(v.chunks, Chunk{}), append(v.slots, slot{})
	v.mu.Unlock()
	v.group.Go(func() {
		defer func() {
			v.f.buffers.put(buf)
			<-v.tokens
		}()
		<-before
		_, _ = v.sum.Write(buf[:n])
		close(hashed)
		c, s, err := v.f.uploadChunk(ctx, buf[:n], v.at, "")
		v.mu.Lock()
		defer v.mu.Unlock()
		v.chunks[i], v.slots[i] = c, s
		if err != nil && v.err == nil {
			v.err = err
			v.cancel()
		}
	})
}

// used drops the slots that were never filled.
func used(slots []slot) []slot {
	var list []slot
	for _, s := range slots {
		if s.claim != nil {
			list = append(list, s)
		}
	}
	return list
}

// uploadChunk makes data a blob. When a volume does not take it, its claim is given up, and another volume is tried.
func (f *Filer) uploadChunk(ctx context.Context, data []byte, at place, mime string) (Chunk, slot, error) {
	pairs, err := f.pairs(ctx)
	if err != nil {
		return Chunk{}, slot{}, err
	}
	b := client.Blob{Data: data, Mime: mime, TTL: at.ttl, Pairs: pairs}
	var avoid blob.VolumeID
	var last error
	for range uploadAttempts {
		s, err := f.claims.take(ctx, at, avoid)
		if err != nil {
			if last != nil && ctx.Err() == nil {
				err = fmt.Errorf("%w (after: %w)", err, last)
			}
			return Chunk{}, slot{}, err
		}
		done, err := f.uploads.UploadTo(ctx, s.claim.host, s.fid.String(), &b)
		if err == nil && done.Size != int64(len(data)) {
			err = fmt.Errorf("%w: the volume server kept %d bytes of %d", client.ErrUnavailable, done.Size, len(data))
		}
		if err == nil {
			f.metrics.putBytes.Add(uint64(len(data)))
			return Chunk{FID: s.fid, Size: int64(len(data)), Mtime: f.now().UnixNano(), ETag: unquote(done.ETag)}, s, nil
		}
		f.claims.abandon(s)
		if ctx.Err() != nil {
			return Chunk{}, slot{}, ctx.Err()
		}
		if !refused(err) {
			return Chunk{}, slot{}, err
		}
		f.log.Info("a volume does not take a chunk: trying another one", "fid", s.fid.String(), "error", err)
		f.claims.giveUp(s.claim)
		avoid, last = s.fid.Volume, err
	}
	return Chunk{}, slot{}, last
}

// refused reports whether another volume may take what this one did not.
func refused(err error) bool {
	var status *client.StatusError
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrNoSpace) ||
		errors.As(err, &status) && status.Status >= 500
}

func unquote(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

// pairs returns what every chunk carries: whose it is.
func (f *Filer) pairs(ctx context.Context) (map[string]string, error) {
	if p := f.marks.Load(); p != nil {
		return *p, nil
	}
	if err := f.loadNamespace(ctx); err != nil {
		return nil, err
	}
	return *f.marks.Load(), nil
}

// loadNamespace reads the namespace's id from the store, and makes one if there is none.
func (f *Filer) loadNamespace(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	id, version, err := f.store.Setting(ctx, settingNamespace)
	if err == nil && version == 0 {
		if _, err = f.store.SetSetting(ctx, settingNamespace, 0, []byte(newID())); err == nil || isConflict(err) {
			id, _, err = f.store.Setting(ctx, settingNamespace)
		}
	}
	if err != nil {
		return fmt.Errorf("read the namespace's id: %w", err)
	}
	f.marks.Store(&map[string]string{"Filer": string(id)})
	return nil
}
