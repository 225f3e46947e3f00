package filer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weed/client"
	"weed/internal/wire"
)

// VerifyEvent is what Verify tells at a time: one of its fields is set.
type VerifyEvent = wire.VerifyEvent

// VerifyProgress says how far Verify is.
type VerifyProgress = wire.VerifyProgress

// DanglingFile is a file that misses chunks.
type DanglingFile = wire.DanglingFile

// LeakedChunk is a chunk that nothing refers to.
type LeakedChunk = wire.LeakedChunk

// VerifyResult is what Verify has found, and done.
type VerifyResult = wire.VerifyResult

// VerifyOptions say what Verify does.
type VerifyOptions struct {
	// Grace is the age below which a chunk that nothing refers to is left alone, in whole seconds, by the clocks of the
	// volume servers.
	Grace time.Duration
	// Fix has chunks that nothing refers to deleted, if all could be looked at.
	Fix bool
	// MoveDangling moves files that miss chunks aside, below /lost+found. It goes with Fix.
	MoveDangling bool
}

// Verify has the filer compare its tree with the blobs on the volume servers, and calls event with what it tells, as it
// goes on, until that fails; nil is for nobody. What is wrong is no error but in the result: see VerifyResult.Clean.
// Errors: that of event, a *client.StatusError with 409 while somebody else verifies, client.ErrUnavailable when the filer
// does not tell the end.
func (c *Client) Verify(ctx context.Context, opts VerifyOptions, event func(*VerifyEvent) error) (VerifyResult, error) {
	q := url.Values{"graceSeconds": {strconv.FormatInt(int64((opts.Grace+time.Second-1)/time.Second), 10)}}
	if opts.Fix {
		q.Set("fix", "true")
	}
	if opts.MoveDangling {
		q.Set("moveDangling", "true")
	}
	answer, err := c.send(ctx, request{method: http.MethodPost, path: wire.PathFilerVerify, query: q})
	if err != nil {
		return VerifyResult{}, err
	}
	defer answer.Body.Close()
	for lines := json.NewDecoder(answer.Body); ; {
		var e VerifyEvent
		if err := lines.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return VerifyResult{}, ctx.Err()
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return VerifyResult{}, fmt.Errorf("%w: %s has broken off: %w", client.ErrUnavailable, c.address, err)
		}
		if e.Result != nil {
			return *e.Result, nil
		}
		if event != nil {
			if err := event(&e); err != nil {
				return VerifyResult{}, err
			}
		}
	}
}
