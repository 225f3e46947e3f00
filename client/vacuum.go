package client

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
)

// VacuumOptions select what is vacuumed.
type VacuumOptions struct {
	GarbageThreshold *float64 // the share of deleted bytes, 0 to 1; nil for that of the masters
	Volume           uint32   // 0 for all
}

// Vacuum has the masters free the room that deleted and replaced blobs take, and waits for that. Volumes that can't be
// vacuumed are passed over. Errors: ErrUnavailable, also when it takes longer than an answer may, when it goes on; a
// *StatusError.
func (c *Client) Vacuum(ctx context.Context, opts VacuumOptions) error {
	values := url.Values{}
	if opts.GarbageThreshold != nil {
		values.Set("garbageThreshold", strconv.FormatFloat(*opts.GarbageThreshold, 'g', -1, 64))
	}
	if opts.Volume != 0 {
		values.Set("volumeId", strconv.FormatUint(uint64(opts.Volume), 10))
	}
	if err := c.tellMaster(ctx, "/vol/vacuum?"+values.Encode(), nil); err != nil {
		return fmt.Errorf("vacuum: %w", err)
	}
	return nil
}
