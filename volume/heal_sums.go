package volume

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/valyala/fasthttp"

	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// sumsOf asks another server what it knows of runs of records. What it does not tell is not known.
func (s *Server) sumsOf(other string, v *storage.Volume, from, n int) []uint32 {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	var sums wire.RunSums
	err := s.client.GetJSON(ctx, other, fmt.Sprintf("%s?volumeId=%d&generation=%s&from=%d&runs=%d", wire.PathVolumeSums, v.ID(),
		generation(v.Origin()), from, n), &sums)
	if err != nil {
		s.cfg.Logger.Info("another copy does not tell its sums", "volume", v.ID(), "server", other, "error", err)
	}
	return sums.Sums
}

// compareSums implements scrubTarget: it finds what was damaged when it came here, and so has a sum that fits. Most of
// the copies are right; where there is no majority, nobody knows.
func (s *Server) compareSums(v *storage.Volume, differs func(storage.RestBlock)) (mended int) {
	others := s.othersOf(v.ID())
	for from := 0; len(others) > 0; from += wire.MaxRunSums {
		mine := v.RestSums(from, wire.MaxRunSums)
		if len(mine) == 0 {
			break
		}
		theirs := make([][]uint32, len(others))
		for i, other := range others {
			theirs[i] = s.sumsOf(other, v, from, len(mine))
		}
		for i := range mine {
			sum, ok := majority(mine, theirs, i)
			if ok && sum == mine[i] {
				continue
			}
			b, err := v.RestBlockAt(from + i)
			if err != nil || b.Sum != mine[i] {
				continue // it has changed meanwhile
			}
			b.Sum = sum
			switch {
			case ok && s.takeRest(v, b, others):
				mended++
			case !s.sameRests(v, b, others): // else a sum is wrong, and is learned anew by who has it
				differs(b)
			}
		}
	}
	return mended
}

// majority returns what most copies say about a run, of those that know; mine if there is nobody else. It is false if
// there is no majority.
func majority(mine []uint32, theirs [][]uint32, i int) (sum uint32, ok bool) {
	votes, voters := map[uint32]int{}, 0
	vote := func(sums []uint32) {
		if i < len(sums) && sums[i] != 0 {
			votes[sums[i]]++
			voters++
		}
	}
	vote(mine)
	if voters == 0 {
		return 0, true // a scrub learns it
	}
	for _, sums := range theirs {
		vote(sums)
	}
	for sum, n := range votes {
		if 2*n > voters {
			return sum, true
		}
	}
	return 0, false
}

// sameRests reports whether all copies that answer have the same in a run of records.
func (s *Server) sameRests(v *storage.Volume, b storage.RestBlock, others []string) bool {
	for _, other := range others {
		if r, err := s.restsOf(other, v, b); err == nil && r.Here != b.Here {
			return false
		}
	}
	return true
}

// takeRest mends a run by what another copy has that has its sum.
func (s *Server) takeRest(v *storage.Volume, b storage.RestBlock, others []string) bool {
	for _, other := range others {
		n, err := v.MendRest(b, s.logOf(other, v))
		if err != nil {
			s.cfg.Logger.Info("a run of records is not mended from another copy", "volume", v.ID(), "server", other, "error", err)
			continue
		}
		v.KeepRestSum(b)
		s.scrub.noteMended(v.ID(), b.Offset)
		s.cfg.Logger.Warn("headers or attributes of a volume's records were replaced by those of most copies", "volume", v.ID(),
			"offset", b.Offset, "bytes", b.Length, "records", n, "from", other)
		return true
	}
	return false
}

// getSums tells what is known of runs of records.
func (s *Server) getSums(ctx *fasthttp.RequestCtx) {
	args := ctx.QueryArgs()
	v, err := s.queriedVolume(args)
	from, fromErr := unsigned(args, "from", math.MaxInt32)
	runs, runsErr := unsigned(args, "runs", wire.MaxRunSums)
	if err = errors.Join(err, fromErr, runsErr); err != nil {
		s.fail(ctx, err)
		return
	}
	of := string(args.Peek("generation"))
	sums := wire.RunSums{Sums: v.RestSums(int(from), int(runs))}
	if r := s.node.Replica(v.ID()); r != nil && !r.Readable() {
		s.fail(ctx, storage.ErrWait)
		return
	}
	if of != generation(v.Origin()) {
		s.fail(ctx, errGeneration)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &sums)
}
