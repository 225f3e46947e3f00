package filer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weed/client"
)

const (
	// What is not relayed is copied through few wide buffers, or if those are taken through one of many narrow ones.
	wideBytes, wideBuffers = 256 << 10, 16
	narrowBytes            = 32 << 10
	// aheadBytes before the end of a chunk the next one is asked for: its answer is on its way when it is needed. Its
	// bytes wait in the kernel, bounded by the connection's window.
	aheadBytes = 1 << 20
	// readAttempts bounds the tries for one place in a chunk; every byte that arrives begins anew.
	readAttempts = 5
)

// copyBuffers are what reads of large files copy through.
type copyBuffers struct {
	wide   chan []byte // those that are free, nil for one that was not made yet
	narrow sync.Pool
}

func newCopyBuffers() *copyBuffers {
	c := &copyBuffers{wide: make(chan []byte, wideBuffers), narrow: sync.Pool{New: func() any { b := make([]byte, narrowBytes); return &b }}}
	for range wideBuffers {
		c.wide <- nil
	}
	return c
}

// get returns a buffer for a read of n bytes, and how to give it back.
func (c *copyBuffers) get(n int64) (b []byte, release func()) {
	if n > narrowBytes {
		select {
		case b = <-c.wide:
			if b == nil {
				b = make([]byte, wideBytes)
			}
			return b, func() { c.wide <- b }
		default:
		}
	}
	p := c.narrow.Get().(*[]byte)
	return *p, func() { c.narrow.Put(p) }
}

// piece is the part of a chunk that a read needs.
type piece struct {
	chunk  *Chunk
	offset int64 // within the chunk
	length int64
}

// contentReader reads a run of a file's bytes, chunk by chunk. It never ends early without an error.
type contentReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	f      *Filer
	pieces []piece // that are left, the first is being read
	now    *client.Download
	next   chan opened // of pieces[1], nil if it was not asked for
}

type opened struct {
	d   *client.Download
	err error
}

// openContent opens the bytes from start on. On success the first of them are on their way.
func (f *Filer) openContent(ctx context.Context, chunks []Chunk, start, length int64) (*contentReader, error) {
	r := &contentReader{f: f}
	r.ctx, r.cancel = context.WithCancel(ctx)
	var at int64
	for i := range chunks {
		c := &chunks[i]
		if from := max(start, at); from < at+c.Size && from < start+length {
			r.pieces = append(r.pieces, piece{chunk: c, offset: from - at, length: min(at+c.Size, start+length) - from})
		}
		at += c.Size
	}
	if len(r.pieces) == 0 {
		return r, nil
	}
	var err error
	if r.now, err = f.openPiece(r.ctx, r.pieces[0]); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// openPiece asks for the bytes of a piece.
func (f *Filer) openPiece(ctx context.Context, p piece) (*client.Download, error) {
	var opts client.DownloadOptions
	part := p.offset > 0 || p.length < p.chunk.Size
	if part {
		opts.Range = "bytes=" + strconv.FormatInt(p.offset, 10) + "-" + strconv.FormatInt(p.offset+p.length-1, 10)
	}
	d, err := f.client.Download(ctx, p.chunk.FID.String(), opts)
	if err != nil {
		return nil, err
	}
	if d.Total >= 0 && d.Total != p.chunk.Size || d.Size >= 0 && d.Size != p.length || part && d.Offset != p.offset {
		_ = d.Close()
		return nil, fmt.Errorf("%w: %s has %d bytes instead of %d", errChunk, p.chunk.FID, d.Total, p.chunk.Size)
	}
	return d, nil
}

// Read reads the next bytes.
func (r *contentReader) Read(b []byte) (int, error) {
	n, err := r.move(func(d *client.Download, most int64) (int64, error) {
		n, err := d.Read(b[:min(int64(len(b)), most)])
		return int64(n), err
	})
	return int(n), err
}

// move has take take bytes out of a download, most at most, and returns how many it took. A connection that breaks is
// replaced, to another replica if there is one.
func (r *contentReader) move(take func(d *client.Download, most int64) (int64, error)) (int64, error) {
	for failures := 0; ; {
		if len(r.pieces) == 0 {
			return 0, io.EOF
		}
		p := &r.pieces[0]
		if p.length == 0 {
			r.advance()
			continue
		}
		var n int64
		var err error
		if r.now == nil {
			r.now, err = r.f.openPiece(r.ctx, *p)
		} else {
			n, err = take(r.now, p.length)
			p.offset += n
			p.length -= n
		}
		if err != nil && p.length > 0 {
			r.closeNow()
		}
		if n > 0 {
			if p.length <= aheadBytes {
				r.ask()
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		var gone *client.ReceiverError
		if failures++; failures == readAttempts || r.ctx.Err() != nil || errors.As(err, &gone) || errors.Is(err, errChunk) || errors.Is(err, client.ErrNotFound) {
			return 0, err
		}
		if failures > 1 && !pause(r.ctx, 100*time.Millisecond<<failures) {
			return 0, r.ctx.Err()
		}
	}
}

// ask opens the next piece in the background.
func (r *contentReader) ask() {
	if r.next != nil || len(r.pieces) < 2 {
		return
	}
	next, p := make(chan opened, 1), r.pieces[1]
	r.next = next
	go func() {
		d, err := r.f.openPiece(r.ctx, p)
		next <- opened{d, err}
	}()
}

// advance goes to the next piece.
func (r *contentReader) advance() {
	r.closeNow()
	next := r.next
	r.pieces, r.next = r.pieces[1:], nil
	if next == nil || len(r.pieces) == 0 {
		return // Read opens it
	}
	o := <-next
	r.now = o.d // nil if that failed: Read tries again, and says why
}

func (r *contentReader) closeNow() {
	if r.now != nil {
		_ = r.now.Close()
		r.now = nil
	}
}

// Close ends the read, also in the middle.
func (r *contentReader) Close() {
	r.cancel()
	r.closeNow()
	if r.next != nil {
		if o := <-r.next; o.d != nil {
			_ = o.d.Close()
		}
		r.next = nil
	}
	r.pieces = nil
}

// reads are the reads that go on, with the chunks that they need.
type reads struct {
	shards [16]struct {
		mu   sync.Mutex
		open map[*reading]struct{}
		_    [40]byte // its own cache line
	}
	turn atomic.Uint32
}

// reading is one read.
type reading struct {
	shard  int
	mu     sync.Mutex
	chunks []Chunk
}

func (r *reads) begin() *reading {
	g := &reading{shard: int(r.turn.Add(1) % uint32(len(r.shards)))}
	s := &r.shards[g.shard]
	s.mu.Lock()
	if s.open == nil {
		s.open = make(map[*reading]struct{})
	}
	s.open[g] = struct{}{}
	s.mu.Unlock()
	return g
}

func (r *reads) end(g *reading) {
	s := &r.shards[g.shard]
	s.mu.Lock()
	delete(s.open, g)
	s.mu.Unlock()
}

// hold keeps chunks from being deleted until the read ends.
func (g *reading) hold(chunks []Chunk) {
	g.mu.Lock()
	g.chunks = chunks
	g.mu.Unlock()
}

// held calls found for every chunk that a read still needs.
func (r *reads) held(found func(fid *Chunk)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		list := make([]*reading, 0, len(s.open))
		for g := range s.open {
			list = append(list, g)
		}
		s.mu.Unlock()
		for _, g := range list {
			g.mu.Lock()
			chunks := g.chunks
			g.mu.Unlock()
			for k := range chunks {
				found(&chunks[k])
			}
		}
	}
}
