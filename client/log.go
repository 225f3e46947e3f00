package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/valyala/fasthttp"

	"weed/internal/wire"
)

// ErrCompacted says that a volume was compacted since its log was opened: offsets mean something else now.
var ErrCompacted = errors.New("the volume was compacted meanwhile")

// VolumeLog is the committed log of one volume, read from whichever of its servers answers.
type VolumeLog struct {
	ID     uint32
	Length int64 // committed bytes when it was opened

	c          *Client
	generation string   // of the file, in which offsets are
	servers    []string // that have all of it; the first one is asked first
}

// OpenVolumeLog asks the servers of a volume how long its log is. Errors: ErrNotFound when there is no such volume or
// it is of another collection, ErrUnavailable when no copy is in touch with the others.
func (c *Client) OpenVolumeLog(ctx context.Context, id uint32, collection string) (*VolumeLog, error) {
	volumes, err := c.VolumeList(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(volumes, func(v Volume) bool { return v.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("volume %d: %w: the masters know of none", id, ErrNotFound)
	}
	if v := &volumes[i]; v.Collection != collection {
		return nil, fmt.Errorf("volume %d: %w in collection %q: it is one of %q", id, ErrNotFound, collection, v.Collection)
	}
	l := &VolumeLog{ID: id, c: c}
	var failures error
	for _, copied := range volumes[i].Copies {
		if copied.Stray {
			continue
		}
		length, generation, err := c.logExtent(ctx, copied.Server, id)
		switch {
		case err != nil:
			failures = errors.Join(failures, fmt.Errorf("%s: %s", copied.Server, plain(err)))
			continue
		case len(l.servers) > 0 && (generation != l.generation || length < l.Length): // behind the first one
			continue
		case len(l.servers) == 0:
			l.Length, l.generation = length, generation
		}
		l.servers = append(l.servers, copied.Server)
	}
	if len(l.servers) == 0 {
		return nil, orContext(ctx, errors.Join(fmt.Errorf("volume %d: %w: no copy can be read now", id, ErrUnavailable), failures))
	}
	return l, nil
}

// logExtent asks one server.
func (c *Client) logExtent(ctx context.Context, server string, id uint32) (length int64, generation string, err error) {
	var status wire.ReplicationStatus
	if err := c.GetJSON(ctx, server, fmt.Sprintf("%s?volumeId=%d", wire.PathReplicationStatus, id), &status); err != nil {
		return 0, "", err
	}
	if !status.InSync {
		return 0, "", errNotInSync
	}
	return status.Committed, status.Generation, nil
}

// Servers returns who is asked, in that order.
func (l *VolumeLog) Servers() []string { return slices.Clone(l.servers) }

// Avoid lets the server that is asked first be asked last.
func (l *VolumeLog) Avoid() { l.servers = append(l.servers[1:], l.servers[0]) }

// Read fills p, at most 1 MiB, with the bytes from an offset on. A server that fails is asked last from then on. Errors:
// ErrCompacted, ErrUnavailable, a *StatusError.
func (l *VolumeLog) Read(ctx context.Context, p []byte, offset int64) error {
	patience := l.c.patience()
	for tried := 0; ; {
		err := l.readFrom(ctx, l.servers[0], p, offset)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrCompacted) {
			return orContext(ctx, err)
		}
		if tried++; tried < len(l.servers) {
			l.Avoid()
			continue
		}
		if !patience.wait(ctx, err) {
			return orContext(ctx, err)
		}
		tried = 0
	}
}

func (l *VolumeLog) readFrom(ctx context.Context, server string, p []byte, offset int64) error {
	path := fmt.Sprintf("%s?volumeId=%d&generation=%s&offset=%d&length=%d", wire.PathVolumeLog, l.ID, l.generation, offset, len(p))
	o := outgoing{method: fasthttp.MethodGet, host: server, path: path, idempotent: true}
	cn, err := l.c.start(ctx, &o)
	if err != nil {
		return err
	}
	body, err := l.c.finishBody(ctx, cn, &o, p[:0:len(p)], maxJSONBytes)
	var refused *StatusError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusConflict:
		return fmt.Errorf("volume %d: %w", l.ID, ErrCompacted)
	case err != nil:
		return err
	case len(body) != len(p):
		return unavailable(server, fmt.Errorf("%d bytes of a log instead of %d", len(body), len(p)))
	}
	copy(p, body) // it is there already, unless it came in a larger buffer
	return nil
}
