package volume

import (
	"context"
	"errors"
	"math"

	"github.com/valyala/fasthttp"

	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

const (
	// maxPageNeedles and maxPageBytes bound one answer of getNeedles: the second the texts in it.
	maxPageNeedles = 32 << 10
	maxPageBytes   = 8 << 20
)

// getNeedles lists live needles: see wire.PathVolumeNeedles.
func (s *Server) getNeedles(ctx *fasthttp.RequestCtx) {
	page, err := s.needles(ctx.QueryArgs())
	if err != nil {
		s.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, page)
}

func (s *Server) needles(args *fasthttp.Args) (*wire.NeedlePage, error) {
	v, err := s.queriedVolume(args)
	if err != nil {
		return nil, err
	}
	page := &wire.NeedlePage{Needles: []wire.LiveNeedle{}, Generation: generation(v.Origin())}
	from := int64(0)
	if args.Has("offset") {
		if from, err = unsigned(args, "offset", math.MaxInt64/2); err != nil {
			return nil, err
		}
		if string(args.Peek("generation")) != page.Generation {
			return nil, errGeneration
		}
	}
	if page.End, err = s.settledEnd(v); err != nil {
		return nil, err
	}
	err = s.fillPage(page, v, from, isTrue(args.Peek("verify")), string(args.Peek("pair")))
	if err == nil && generation(v.Origin()) != page.Generation { // compacted meanwhile: the end was another file's
		err = errGeneration
	}
	return page, err
}

// fillPage adds needles from an offset on, at least one if there is any, and where to go on. pair names what they tell of
// their pairs, "" for nothing.
func (s *Server) fillPage(page *wire.NeedlePage, v *storage.Volume, from int64, verify bool, pair string) error {
	within, cancel := context.WithTimeout(context.Background(), checksumTime)
	defer cancel()
	pace := func(n int) error {
		ctx := within
		if len(page.Needles) == 0 { // one in any case, so that the caller gets on
			ctx = context.Background()
		}
		return s.scrub.pace.wait(ctx, n)
	}
	bytes, next := 0, from
	full := false
	err := v.Live(from, page.End, verify, pace, func(n storage.LiveNeedle) bool {
		if full = len(page.Needles) >= maxPageNeedles || bytes >= maxPageBytes; full {
			return false
		}
		page.Needles = append(page.Needles, wire.LiveNeedle{Key: uint64(n.Key), Cookie: uint32(n.Cookie), Offset: n.Offset, Size: n.DataSize,
			CRC: n.Checksum, Name: n.Name, Mime: n.Mime, TTL: n.TTL.String(), Modified: n.LastModified, Gzipped: n.Gzipped,
			Manifest: n.Manifest, Damage: n.Damage})
		last := &page.Needles[len(page.Needles)-1]
		if pair != "" {
			last.Pair, last.AppendedAt = pairOf(n.Pairs, pair), int64(n.AppendAtNs)
		}
		bytes += len(n.Name) + len(n.Mime) + len(n.Damage) + len(last.Pair)
		next = n.Offset + 8 // no record begins before that
		return true
	})
	if errors.Is(err, context.DeadlineExceeded) {
		full, err = true, nil
	}
	if full {
		page.Next = next
	}
	return err
}
