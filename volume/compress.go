package volume

import (
	"context"

	"weed/internal/upload"
)

const (
	// maxPooledGzip bounds the compression buffers that are kept for reuse, and the content that is
	// compressed without a claim: its compressed form is shorter than its body, which has one.
	maxPooledGzip = 256 << 10
	// maxCompressBytes is the length up to which content is compressed at all. Whoever asks for a range of
	// compressed content pays for all that lies before it.
	maxCompressBytes = 32 << 20
	// deflatingBytes bounds the content whose compressed form waits to be written.
	deflatingBytes = 2 * maxCompressBytes
)

// compress replaces the content by its gzip form where its type promises and its bytes prove that this
// saves at least a tenth.
func (s *Server) compress(w *writer) {
	n := &w.needle
	if len(n.Data) > maxCompressBytes || !upload.Compressible(n.Mime, upload.Ext(n.Name)) {
		return
	}
	if len(n.Data) > maxPooledGzip {
		// Whoever holds a claim only waits for the disk, so this ends.
		if s.deflating.Acquire(context.Background(), int64(len(n.Data))) != nil {
			return // only a claim on more than there is fails
		}
		w.claim = int64(len(n.Data))
	}
	var ok bool
	if w.gzip, ok = upload.Gzip(w.gzip[:0], n.Data); ok {
		n.Data, n.Gzipped = w.gzip, true
	}
}

// dropGzip gives back what compress took.
func (s *Server) dropGzip(w *writer) {
	if cap(w.gzip) > maxPooledGzip {
		w.gzip = nil
	}
	if w.claim > 0 {
		s.deflating.Release(w.claim)
		w.claim = 0
	}
}
