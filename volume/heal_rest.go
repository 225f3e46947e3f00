package volume

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// What no checksum of a record covers (its header, attributes, times, padding) has one for each run of records, which
// tells the copies that are right from those that are not.

var (
	errRestsDiffer = errors.New("the copies differ in what no checksum of a needle covers, and nothing tells which one is right")
	errRestWrong   = errors.New("what no checksum of a needle covers has changed")
)

// restsOf asks another server what it knows of a run of records.
func (s *Server) restsOf(other string, v *storage.Volume, b storage.RestBlock) (r wire.RestSums, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	url := fmt.Sprintf("%s?volumeId=%d&generation=%s&offset=%d&length=%d&number=%d&records=%d", wire.PathVolumeRests, v.ID(), generation(v.Origin()),
		b.Offset, b.Length, b.Number, b.Records)
	return r, s.client.GetJSON(ctx, other, url, &r)
}

// mendRest implements scrubTarget.
func (s *Server) mendRest(v *storage.Volume, b storage.RestBlock) (mended int, err error) {
	others := s.othersOf(v.ID())
	answers := make(map[string]wire.RestSums, len(others))
	for _, other := range others {
		r, err := s.restsOf(other, v, b)
		if err != nil {
			s.cfg.Logger.Info("another copy does not tell about a run of records", "volume", v.ID(), "server", other, "error", err)
			continue
		}
		answers[other] = r
	}
	here := b.Here
	// A copy that is missing now may know better.
	wanted := max(len(others), v.Placement().Copies()-1)
	if b.Sum, err = judgeRest(b, answers, wanted); err != nil || b.Sum == 0 {
		return 0, err
	}
	if b.Sum == here {
		v.KeepRestSum(b)
		return 0, nil
	}
	err = errRestWrong
	for other, r := range answers {
		if r.Here != b.Sum {
			continue
		}
		n, failure := v.MendRest(b, s.logOf(other, v))
		if failure != nil {
			err = errors.Join(err, fmt.Errorf("from %s: %w", other, failure))
			continue
		}
		v.KeepRestSum(b)
		s.scrub.noteMended(v.ID(), b.Offset)
		s.cfg.Logger.Warn("headers or attributes of a volume's records were replaced by those of another copy", "volume", v.ID(),
			"offset", b.Offset, "bytes", b.Length, "records", n, "from", other)
		return n, nil
	}
	return 0, err
}

// settleRest finds out what the run of records should be that has the one at an offset, and mends it.
func (s *Server) settleRest(v *storage.Volume, offset int64) error {
	b, err := v.RestBlockOf(offset)
	if err == nil {
		_, err = s.mendRest(v, b)
	}
	return err
}

// judgeRest returns the sum that a run of records should have, of what is known here and what so many other copies
// should have told. 0: that is to be found out another time.
func judgeRest(b storage.RestBlock, answers map[string]wire.RestSums, others int) (sum uint32, err error) {
	own := b.Sum != 0 && !b.Doubted
	votes, same, vouch := map[uint32]int{}, 0, 0
	// vote counts what a copy knows for sure, or else what most would have to agree on. A doubted sum that its own bytes
	// do not have any more is that of what was there before.
	vote := func(known uint32, doubted bool, here uint32) {
		switch {
		case known == 0:
			votes[here]++
		case doubted:
			votes[known]++
		case sum == 0 || known == b.Here:
			sum = known
		}
		if here == b.Here {
			same++
		}
		if known == b.Here && !doubted {
			vouch++
		}
	}
	vote(b.Sum, b.Doubted, b.Here)
	for _, r := range answers {
		vote(r.Sum, r.Doubted, r.Here)
	}
	switch {
	case same == 1+others && (!own && others > 0 || vouch == others && others > 0 || b.Sum == 0):
		return b.Here, nil // all are the same, and not because they were made of this one
	case own:
		return b.Sum, nil
	case sum != 0: // somebody has kept it
		return sum, nil
	case len(answers) < others && (b.Sum == 0 || b.Sum == b.Here):
		return 0, nil
	}
	for candidate, n := range votes {
		if 2*n > 1+others {
			return candidate, nil
		}
	}
	return 0, errRestsDiffer
}

// maxRestRecords bounds what one request asks about.
const maxRestRecords = 1024

// getRests tells of a run of records what its sum is, and what it is by the bytes that are here.
func (s *Server) getRests(ctx *fasthttp.RequestCtx) {
	args := ctx.QueryArgs()
	r, err := s.readLogRange(args)
	var number, records int64
	if err == nil {
		number, err = unsigned(args, "number", math.MaxInt32)
	}
	if err == nil {
		records, err = unsigned(args, "records", maxRestRecords)
	}
	of := string(args.Peek("generation"))
	if err == nil && of != generation(r.v.Origin()) {
		err = errGeneration
	}
	b := storage.RestBlock{Number: int(number), Records: int(records), Offset: r.offset, Length: r.length}
	if err == nil {
		err = r.v.RestSum(&b)
	}
	if err == nil && of != generation(r.v.Origin()) {
		err = errGeneration // compacted just now
	}
	if copied := s.node.Replica(blob.VolumeID(r.id())); err == nil && copied != nil && !copied.Readable() {
		err = storage.ErrWait
	}
	if err != nil {
		s.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, http.StatusOK, &wire.RestSums{Sum: b.Sum, Doubted: b.Doubted, Here: b.Here})
}

// id returns the volume's id, 0 for none.
func (r logRange) id() blob.VolumeID {
	if r.v == nil {
		return 0
	}
	return r.v.ID()
}
