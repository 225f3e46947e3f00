// Package client is the Go client of the blob store. Programs import it as a library; the project's own
// servers and tools reach each other only through it.
//
// It owns the connections (kept alive, bounded per server), the choice of the master and of the replica,
// the cache of volume locations, and every retry. It refuses to hide an unknown outcome: an answer that
// ends early is an error, never a short success, and a request is only sent again where doing it twice
// equals doing it once.
//
//	c, err := client.New(client.Config{Masters: []string{"localhost:9333"}})
//	if err != nil { … }
//	defer c.Close()
//	s, err := c.Submit(ctx, client.AssignOptions{Collection: "pictures"}, &client.Blob{Name: "a.jpg", Data: jpg})
//	d, err := c.Download(ctx, s.FID, client.DownloadOptions{})
//	if errors.Is(err, client.ErrNotFound) { … }
//	_, err = io.Copy(file, d) // io.ErrUnexpectedEOF when the server goes away in the middle
//	err = errors.Join(err, d.Close())
//	size, err := c.Delete(ctx, s.FID)
//
// # Contexts
//
// Every call ends at once when its context ends, be it by deadline or by cancellation: the exchange runs on
// the caller's goroutine, and the end of the context closes its connection under it. No request, buffer or
// body is touched after a call has returned. A context whose Done is nil costs nothing; one of the standard
// library costs well under a microsecond; a foreign Context implementation costs a goroutine per call. The
// one thing that cannot be interrupted is a Read of a Blob.Reader that the caller supplied: cancellation is
// noticed when it returns.
//
// A server that moves no byte for Config.IOTimeout is given up, whatever the context says.
//
// # Retries
//
// A kept-alive connection that the server closed before the first byte of an answer is replaced once, for
// operations that may be repeated: all reads, assigns, uploads to a fid (same fid, cookie and bytes are one
// blob) and deletes (a repeated DELETE may answer 404, so after such an interruption ErrNotFound can mean
// that the first one worked). A 503 with Retry-After is honoured as long as the waits of one call stay below
// Config.RetryWait and within the context. Masters are tried in turn and the one that answers is remembered;
// reads go on to the next replica; Submit goes on to another volume.
//
// # Wire
//
// The package speaks HTTP/1.1 with fasthttp's response parser over a connection pool of its own: fasthttp's
// HostClient knows deadlines but no cancellation, and its cleaner goroutines outlive it.
package client
