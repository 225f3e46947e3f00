package volume

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// errBeyond: bytes are asked for that are not all committed.
var errBeyond = errors.New("these bytes are not all committed here")

// settleStep is how often awaitSettled looks.
const settleStep = 5 * time.Millisecond

// checksumTime bounds how long a server takes for one answer with a checksum.
const checksumTime = 5 * time.Second

// logRange is the part of a volume's log that a request names.
type logRange struct {
	v              *storage.Volume
	offset, length int64
}

// readLogRange reads volumeId, offset and length, and checks that the copy here can answer for them.
func (s *Server) readLogRange(args *fasthttp.Args) (r logRange, err error) {
	id, err := unsigned(args, "volumeId", math.MaxUint32)
	if err == nil {
		r.offset, err = unsigned(args, "offset", math.MaxInt64/2)
	}
	if err == nil {
		r.length, err = unsigned(args, "length", math.MaxInt64/2)
	}
	if err != nil {
		return r, err
	}
	if r.v, err = s.volume(blob.VolumeID(id)); err != nil {
		return r, err
	}
	if wanted := args.Peek("generation"); len(wanted) > 0 && string(wanted) != generation(r.v.Origin()) {
		return r, errGeneration
	}
	end, err := s.awaitSettled(r.v, r.offset+r.length)
	switch {
	case err != nil:
		return r, err
	case r.length == 0:
		return r, fmt.Errorf("%w length: at least 1", errParameter)
	case r.offset+r.length > end:
		return r, errBeyond
	}
	return r, nil
}

// awaitSettled is settledEnd, after it has waited, not for long, for bytes that are here and about to be committed:
// a member learns a little later than the primary that they are.
func (s *Server) awaitSettled(v *storage.Volume, offset int64) (int64, error) {
	look := time.NewTicker(settleStep)
	defer look.Stop()
	for deadline := time.Now().Add(readPatience); ; <-look.C {
		end, err := s.settledEnd(v)
		r := s.node.Replica(v.ID())
		if err != nil || end >= offset || r == nil || lengthIn(r.Look()) < offset || time.Now().After(deadline) {
			return end, err
		}
	}
}

func unsigned(args *fasthttp.Args, name string, up int64) (int64, error) {
	n, err := args.GetUint(name)
	if err != nil || int64(n) > up {
		return 0, fmt.Errorf("%w %s: give a number from 0 to %d", errParameter, name, up)
	}
	return int64(n), nil
}

// getLog answers with bytes of a log that are what every copy has there.
func (s *Server) getLog(ctx *fasthttp.RequestCtx) {
	args := ctx.QueryArgs()
	r, err := s.readLogRange(args)
	wanted := string(args.Peek("generation"))
	switch {
	case err != nil:
	case r.length > wire.MaxLogBytes:
		err = fmt.Errorf("%w length: at most %d", errParameter, wire.MaxLogBytes)
	case wanted == "":
		err = fmt.Errorf("%w generation: that of the answer to a request for a checksum", errParameter)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	b := make([]byte, r.length)
	_, err = r.v.ReadFile(r.offset, b)
	if err == nil && wanted != generation(r.v.Origin()) {
		err = errGeneration // compacted just now
	}
	if copied := s.node.Replica(r.v.ID()); err == nil && copied != nil && !copied.Readable() {
		err = storage.ErrWait
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	ctx.SetContentType("application/octet-stream")
	ctx.Response.SetBodyRaw(b)
}

// getChecksum sums up bytes of a log as the disk has them.
func (s *Server) getChecksum(ctx *fasthttp.RequestCtx) {
	args := ctx.QueryArgs()
	r, err := s.readLogRange(args)
	crc := int64(0)
	if err == nil && args.Has("crc") {
		crc, err = unsigned(args, "crc", math.MaxUint32)
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	within, cancel := context.WithTimeout(context.Background(), checksumTime)
	defer cancel()
	first := true // one piece in any case, so that the caller gets on
	of := generation(r.v.Origin())
	sum, n, err := r.v.ChecksumLog(r.offset, r.length, uint32(crc), func(n int) error {
		ctx := within
		if first {
			ctx, first = context.Background(), false
		}
		return s.scrub.pace.wait(ctx, n)
	})
	if err == nil && of != generation(r.v.Origin()) {
		err = storage.ErrWait // compacted just now
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &wire.LogChecksum{Length: n, CRC: sum, Generation: of})
}

// serveScrub tells what scrubs have found, and takes orders for them.
func (s *Server) serveScrub(ctx *fasthttp.RequestCtx) {
	id := int64(0)
	if args := ctx.QueryArgs(); args.Has("volumeId") {
		var err error
		if id, err = unsigned(args, "volumeId", math.MaxUint32); err != nil {
			s.fail(ctx, err)
			return
		}
		if _, err := s.volume(blob.VolumeID(id)); err != nil {
			s.fail(ctx, err)
			return
		}
	}
	if ctx.IsPost() {
		s.scrub.order(blob.VolumeID(id))
	}
	status := s.scrub.status(blob.VolumeID(id))
	httpx.JSON(ctx, fasthttp.StatusOK, &status)
}
