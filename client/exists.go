package client

import (
	"context"
	"fmt"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
)

// Exists asks the servers of a blob's volume whether they have it, until one does. False is sure: all of them have said
// that they don't, or the masters that there is no such volume. Errors: ErrInvalid, ErrUnavailable (then nobody knows).
func (c *Client) Exists(ctx context.Context, fid string) (bool, error) {
	id, err := blob.ParseFileID(fid)
	if err != nil {
		return false, invalid("fid %.100q", fid)
	}
	for {
		locs, at, err := c.lookup(ctx, uint32(id.Volume))
		if isMissing(err) {
			return false, nil
		}
		if err == nil {
			var found bool
			if found, err = c.existsOn(ctx, fid, locs); found {
				return true, nil
			}
		}
		// An answer that is not fresh may name servers that hold the volume no more.
		if c.clock.Now().Sub(at) <= lookupFreshness || ctx.Err() != nil || len(locs) == 0 {
			if err != nil {
				err = fmt.Errorf("look for %s: %w", fid, orContext(ctx, err))
			}
			return false, err
		}
		c.lookups.forget(uint32(id.Volume), at)
	}
}

// existsOn asks servers one after the other. An error says that none has it, and one did not answer.
func (c *Client) existsOn(ctx context.Context, fid string, locs []Location) (found bool, err error) {
	for _, l := range locs {
		p := c.patience()
		for {
			o := outgoing{method: fasthttp.MethodHead, host: l.URL, path: "/" + fid + "?cm=false", idempotent: true}
			one := c.callJSON(ctx, &o, nil)
			if one == nil {
				return true, nil
			}
			if p.wait(ctx, one) {
				continue
			}
			if !isMissing(one) {
				err = one
			}
			break
		}
	}
	return false, err
}
