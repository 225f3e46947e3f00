package volume

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

// vacuumWait is how long an order to compact a volume waits for the end before it says that it goes on.
const vacuumWait = 5 * time.Second

// vacuumer compacts the volumes that are ordered, one after the other.
type vacuumer struct {
	pace *pacer        // nil for no limit
	wake chan struct{} // capacity 1

	mu    sync.Mutex // guards what follows
	queue []*vacuum
	jobs  map[blob.VolumeID]*vacuum // those that are queued, under way, or of which nobody knows the end yet
}

// vacuum is the compaction of one volume.
type vacuum struct {
	id      blob.VolumeID
	follow  *storage.Origin // what another copy has become, nil for a compaction of this server's choice
	survey  bool            // nothing is to be written
	planned storage.Origin  // once done is closed, of a survey
	err     error           // once done is closed
	done    chan struct{}   // closed at the end
}

// is reports whether a compaction is the one that is ordered.
func (v *vacuum) is(follow *storage.Origin, survey bool) bool {
	return v.survey == survey && (v.follow == nil) == (follow == nil) && (follow == nil || *follow == *v.follow)
}

func newVacuumer(bytesPerSecond int64) *vacuumer {
	v := &vacuumer{wake: make(chan struct{}, 1), jobs: map[blob.VolumeID]*vacuum{}}
	if bytesPerSecond > 0 {
		v.pace = &pacer{bytesPerSecond: bytesPerSecond}
	}
	return v
}

// order returns the compaction of a volume: the one that is known, be it another one, or a new one.
func (v *vacuumer) order(id blob.VolumeID, follow *storage.Origin, survey bool) *vacuum {
	v.mu.Lock()
	defer v.mu.Unlock()
	job := v.jobs[id]
	if job == nil {
		job = &vacuum{id: id, follow: follow, survey: survey, done: make(chan struct{})}
		v.jobs[id] = job
		v.queue = append(v.queue, job)
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
	return job
}

// forget says that the end of a compaction was told.
func (v *vacuumer) forget(job *vacuum) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.jobs[job.id] == job {
		delete(v.jobs, job.id)
	}
}

func (v *vacuumer) next() *vacuum {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.queue) == 0 {
		return nil
	}
	job := v.queue[0]
	v.queue = v.queue[1:]
	return job
}

// runVacuum compacts what is ordered until ctx ends.
func (s *Server) runVacuum(ctx context.Context) {
	pace := func(n int) error {
		if s.vacuum.pace == nil {
			return ctx.Err()
		}
		return s.vacuum.pace.wait(ctx, n)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.vacuum.wake:
		}
		for job := s.vacuum.next(); job != nil; job = s.vacuum.next() {
			job.err = s.compact(job, pace)
			if job.err != nil {
				s.cfg.Logger.Warn("a volume was not compacted", "volume", job.id, "error", job.err)
			} else if !job.survey {
				runtime.GC() // which closes the old log when nobody reads it any more, and so gives its room back
			}
			close(job.done)
			s.beat.kick()
		}
	}
}

// maxMendsOfVacuum bounds how often a compaction begins anew after damage was mended.
const maxMendsOfVacuum = 8

// compact carries out an order. Damage that it meets is mended from another copy.
func (s *Server) compact(job *vacuum, pace storage.Pace) (err error) {
	options := storage.CompactOptions{Pace: pace, AsOf: s.cfg.Now(), Follow: job.follow}
	for range maxMendsOfVacuum {
		v, missing := s.volume(job.id)
		switch {
		case missing != nil:
			return missing
		case job.survey:
			job.planned, err = v.Survey(options)
		default:
			_, err = s.store.Compact(job.id, options)
		}
		var damage *storage.CorruptError
		switch {
		case errors.As(err, &damage):
			end, unsettled := s.settledEnd(v)
			if unsettled != nil {
				return err
			}
			failed := s.mend(v, damage.Offset, end)
			if failed == nil {
				continue
			}
			err = errors.Join(err, failed)
		case !errors.Is(err, storage.ErrCopiesDiffer):
			return err
		}
		if job.follow != nil {
			s.renew(v, err)
		}
		return err
	}
	return err
}

// renew gives up a copy that can't be compacted as all others are, of which none can mend it: it is fetched anew. What the
// others have was the same in two of them before the first one was compacted.
func (s *Server) renew(v *storage.Volume, why error) {
	r := s.node.Replica(v.ID())
	others := s.othersOf(v.ID())
	if r == nil || len(others) == 0 {
		return
	}
	for _, other := range others {
		var b [storage.SuperblockSize]byte
		if err := s.logOf(other, v)(b[:], 0); !errors.Is(err, errGeneration) {
			return
		}
	}
	s.cfg.Logger.Error("a copy of a volume is damaged, and no other one can mend it: it is fetched anew", "volume", v.ID(), "error", why)
	r.Renew(why)
}

// serveVacuum tells how a volume is compacted, and takes orders to compact it.
func (s *Server) serveVacuum(ctx *fasthttp.RequestCtx) {
	if ctx.IsPost() {
		s.postVacuum(ctx)
		return
	}
	v, err := s.queriedVolume(ctx.QueryArgs())
	if err != nil {
		s.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, &wire.VacuumStatus{Origin: *wireOrigin(v.Origin())})
}

// postVacuum has a volume compacted.
func (s *Server) postVacuum(ctx *fasthttp.RequestCtx) {
	var order wire.VacuumVolume
	if err := s.readOrder(ctx, &order); err != nil {
		s.fail(ctx, err)
		return
	}
	v, err := s.volume(blob.VolumeID(order.ID))
	if err != nil {
		s.fail(ctx, err)
		return
	}
	status := wire.VacuumStatus{}
	follow := originOf(order.Follow)
	if follow == nil && v.Revision() == order.Revision || follow != nil && v.Origin() != *follow {
		job := s.vacuum.order(v.ID(), follow, order.Survey)
		timer := time.NewTimer(vacuumWait)
		defer timer.Stop()
		select {
		case <-job.done:
			s.vacuum.forget(job)
			switch {
			case !job.is(follow, order.Survey): // another one was known, whose end was told by this
				status.Running = true
			case job.err != nil:
				status.Error = job.err.Error()
			case order.Survey:
				status.Planned = wireOrigin(job.planned)
			}
		case <-timer.C:
			status.Running = true
		}
	}
	status.Origin = *wireOrigin(v.Origin())
	httpx.JSON(ctx, fasthttp.StatusOK, &status)
}
