package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
)

// Delete deletes a blob on every copy and returns the content bytes it had. A blob that is not there is
// ErrNotFound; see Retries in the package comment for what that can mean. Errors: ErrInvalid,
// ErrUnavailable (then the outcome is unknown).
func (c *Client) Delete(ctx context.Context, fid string) (size int64, err error) {
	if size, err = c.delete(ctx, fid); err != nil {
		return 0, fmt.Errorf("delete %s: %w", fid, err)
	}
	return size, nil
}

func (c *Client) delete(ctx context.Context, fid string) (int64, error) {
	if strings.ContainsAny(fid, "?#% ") {
		return 0, invalid("fid %.100q", fid)
	}
	var answer struct {
		Size int64 `json:"size"`
	}
	err := c.onReplicas(ctx, fid, false, func(host string) error {
		o := outgoing{method: fasthttp.MethodDelete, host: host, path: "/" + fid, idempotent: true}
		return c.callJSON(ctx, &o, &answer)
	})
	return answer.Size, err
}

// isMissing reports whether a volume server said that a blob or a volume is not there.
func isMissing(err error) bool { return errors.Is(err, ErrNotFound) }

// DeleteResult is what became of one fid.
type DeleteResult struct {
	FID  string
	Size int64 // content bytes that the blob had
	Err  error // as Delete returns it
}

const (
	deletesPerServer = 4
	deletesAtOnce    = 32
)

// DeleteMany deletes many blobs and returns what became of each, in the order of fids. Volume servers work in
// parallel, each on a few blobs at a time.
func (c *Client) DeleteMany(ctx context.Context, fids []string) []DeleteResult {
	results := make([]DeleteResult, len(fids))
	groups := c.groupByServer(ctx, fids, results)
	limit := make(chan struct{}, deletesAtOnce)
	var wg sync.WaitGroup
	for _, group := range groups {
		next := new(atomic.Int64)
		for range min(deletesPerServer, len(group)) {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				for k := next.Add(1) - 1; k < int64(len(group)); k = next.Add(1) - 1 {
					r := &results[group[k]]
					r.Size, r.Err = c.Delete(ctx, r.FID)
				}
			})
		}
	}
	wg.Wait()
	return results
}

// groupByServer returns the indices of the fids by the server that is asked first. A fid that cannot be
// looked up gets its result here.
func (c *Client) groupByServer(ctx context.Context, fids []string, results []DeleteResult) map[string][]int {
	type answer struct {
		host string
		err  error
	}
	volumes := make(map[blob.VolumeID]answer)
	groups := make(map[string][]int)
	for i, fid := range fids {
		results[i].FID = fid
		id, err := blob.ParseFileID(fid)
		if err != nil {
			results[i].Err = fmt.Errorf("delete %s: %w", fid, invalid("fid %.100q", fid))
			continue
		}
		a, known := volumes[id.Volume]
		if !known {
			var locs []Location
			if locs, _, a.err = c.lookup(ctx, uint32(id.Volume)); a.err == nil {
				a.host = locs[0].URL
			}
			volumes[id.Volume] = a
		}
		if a.err != nil {
			results[i].Err = fmt.Errorf("delete %s: %w", fid, a.err)
			continue
		}
		groups[a.host] = append(groups[a.host], i)
	}
	return groups
}
