// Package httpx is how every weed server listens, limits, drains and answers errors, on fasthttp.
//
// It owns the listening socket, the connections (their number, their progress deadlines, their end), the
// memory of request bodies in flight, and the form of JSON and error answers. It knows no blob, volume
// or path beyond the prefixes that Guard protects, and it keeps no connection that makes no progress.
//
// Invariants:
//   - A connection lives only while it moves. Silence between requests ends it after IdleTimeout, a request
//     head must be complete within IdleTimeout of its first byte, and a body, in either direction, must move
//     at least 4 KiB in every IdleTimeout. How long a transfer takes in all does not matter.
//   - Every answer is JSON, also those to a malformed request line. A refused client sees its answer: the
//     server reads on, bounded, before it closes on top of unread input.
//   - Bodies in flight never hold more than the Budget, and cannot block each other for ever.
//   - After Serve has returned no connection is open and no goroutine is left, except for a handler that
//     did not return within DrainTimeout.
//   - A panic in a handler costs one request.
//
// Deadlines lie on a coarse clock (half a second with the default IdleTimeout) and are moved at most once a
// second per connection, so they fire up to two seconds late and never early. A connection that was quiet for
// two seconds is parked: it gives back its buffers and keeps only a small stack.
//
// Request bodies are streams: take them with ReadBody or ReadForm. PostBody, PostArgs and FormValue of
// fasthttp would read a body of any size into memory, unless ReadForm was called first. A handler runs as soon
// as the first byte of the body is there, so it can refuse before the rest; a response that is larger than the
// write buffer (16 KiB with its head) takes two system calls, a file given to SetBodyStream goes out by sendfile.
// The package needs Linux.
//
//	ln, err := httpx.Listen(":8080")
//	budget := httpx.NewBudget(256<<20, 0)
//	srv := httpx.New(httpx.Config{Name: "volume", Handler: func(ctx *fasthttp.RequestCtx) {
//		if !httpx.Allow(ctx, "PUT") {
//			return
//		}
//		body, err := httpx.ReadBody(ctx, budget, 256<<20)
//		if err != nil {
//			errorTable.Fail(ctx, logger, err)
//			return
//		}
//		defer body.Release()
//		httpx.JSON(ctx, 201, map[string]int{"size": len(body.Bytes)})
//	}})
//	err = srv.Serve(ctx, ln)
package httpx
