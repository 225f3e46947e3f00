package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/storage"
)

const (
	// orderedScrubRate is that of scrubs that are ordered where none are made otherwise, in bytes per second.
	orderedScrubRate = 10 << 20
	// scrubRetry is when a volume that could not be read to its end is tried again.
	scrubRetry = 10 * time.Minute
	// scrubLook is how often the scrubber looks for new volumes.
	scrubLook = time.Minute
	// maxDamagedListed bounds the damage that is remembered of one volume.
	maxDamagedListed = 64
)

// scrubTarget is the server, as its scrubber sees it. An error says why a volume can't be read now, or not be mended.
type scrubTarget interface {
	scrubVolumes() []blob.VolumeID
	// scrubExtent returns a volume and up to where its log is known to be what the other copies have. of is the
	// generation of its file before that was found out.
	scrubExtent(id blob.VolumeID) (v *storage.Volume, of string, end int64, err error)
	// mend replaces the record at an offset by that of another copy.
	mend(v *storage.Volume, offset, end int64) error
	// mendRest mends a run of records of which the sum of what is no data is not known, or is not that of what is there.
	mendRest(v *storage.Volume, b storage.RestBlock) (mended int, err error)
	// compareSums compares the sums of runs of records with those of the other copies, and mends what most of these have
	// otherwise. differs is called for what is not mended.
	compareSums(v *storage.Volume, differs func(storage.RestBlock)) (mended int)
	// healed is told that all of a volume is as it should be, after something of it was mended.
	healed(v *storage.Volume, end int64)
}

// scrubber re-reads the volumes of a server, one after the other, each once in a while. It finds what the disk has lost
// before the last other copy does.
type scrubber struct {
	target scrubTarget
	rate   int64         // in bytes per second; 0: on order only
	every  time.Duration // the rest of a volume after a pass
	pace   *pacer
	logger *slog.Logger
	wake   chan struct{} // capacity 1

	bytes, found, mended atomic.Uint64 // since the server was started

	mu      sync.Mutex // guards what follows
	reading blob.VolumeID
	offset  int64
	length  int64
	volumes map[blob.VolumeID]*scrubState
}

// scrubState is what is known of one volume.
type scrubState struct {
	due        time.Time // of the next pass; zero for at once
	ordered    bool      // a pass is to begin, whatever is due
	underWay   bool      // a pass that was ordered has begun
	finishedAt time.Time
	bytes      int64
	failure    string
	mended     uint64
	damaged    []wire.DamagedRange
}

func newScrubber(target scrubTarget, bytesPerSecond int64, every time.Duration, logger *slog.Logger) *scrubber {
	return &scrubber{
		target: target, rate: bytesPerSecond, every: every, logger: logger,
		pace: &pacer{bytesPerSecond: cmp.Or(bytesPerSecond, orderedScrubRate)},
		wake: make(chan struct{}, 1), volumes: map[blob.VolumeID]*scrubState{},
	}
}

// register adds the scrubber's figures to /metrics.
func (s *scrubber) register(registry *prometheus.Registry) {
	counter := func(name, help string, n *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
	}
	registry.MustRegister(
		counter("weed_volume_scrub_bytes_total", "Bytes of logs that were re-read and checked.", &s.bytes),
		counter("weed_volume_damage_found_total", "Damaged ranges that scrubs and reads have met in logs.", &s.found),
		counter("weed_volume_damage_mended_total", "Damaged records that were replaced by those of another copy.", &s.mended),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weed_volume_damaged_ranges",
			Help: "Damaged ranges that are known and not mended."}, s.unmended),
	)
}

func (s *scrubber) unmended() (n float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.volumes {
		n += float64(len(state.damaged))
	}
	return n
}

// run scrubs until ctx ends.
func (s *scrubber) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.wake:
		}
		for id := s.next(); id != 0 && ctx.Err() == nil; id = s.next() {
			s.pass(ctx, id)
		}
		timer.Reset(scrubLook)
	}
}

// next returns the volume whose turn it is, 0 for none: those that were ordered first, then those that have waited
// longest. It forgets volumes that are gone.
func (s *scrubber) next() (next blob.VolumeID) {
	ids := s.target.scrubVolumes()
	slices.Sort(ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.volumes {
		if _, here := slices.BinarySearch(ids, id); !here {
			delete(s.volumes, id)
		}
	}
	now := time.Now()
	var first *scrubState
	for _, id := range ids {
		state := s.state(id)
		if !state.ordered && (s.rate == 0 || state.due.After(now)) {
			continue
		}
		if first == nil || state.ordered && !first.ordered || state.ordered == first.ordered && state.due.Before(first.due) {
			first, next = state, id
		}
	}
	return next
}

// state returns what is known of a volume. s.mu is held.
func (s *scrubber) state(id blob.VolumeID) *scrubState {
	state := s.volumes[id]
	if state == nil {
		state = &scrubState{}
		s.volumes[id] = state
	}
	return state
}

// pass reads one volume.
func (s *scrubber) pass(ctx context.Context, id blob.VolumeID) {
	v, of, end, err := s.target.scrubExtent(id)
	s.mu.Lock()
	state := s.state(id)
	state.underWay, state.ordered = state.ordered, false
	s.reading, s.offset, s.length = id, 0, end
	s.mu.Unlock()
	var damaged []wire.DamagedRange
	mended := 0
	unmended := func(b storage.RestBlock, err error) {
		s.found.Add(1)
		s.logger.Error("a volume is damaged, and is not mended", "volume", v.ID(), "offset", b.Offset, "bytes", b.Length, "error", err)
		if len(damaged) < maxDamagedListed {
			damaged = append(damaged, wire.DamagedRange{Offset: b.Offset, Length: b.Length, Reason: err.Error()})
		}
	}
	if err == nil {
		err = v.Scrub(end, func(n int) error { return s.pace.wait(ctx, n) },
			func(d storage.Damage) bool {
				ok := s.damage(v, end, d)
				if ok {
					mended++
				} else if len(damaged) < maxDamagedListed {
					damaged = append(damaged, wire.DamagedRange{Offset: d.Offset, Length: d.Length, Reason: d.Reason})
				}
				return ok
			},
			func(b storage.RestBlock) {
				n, err := s.target.mendRest(v, b)
				if mended += n; err == nil {
					return
				}
				unmended(b, err)
			}, s.reached)
	}
	if err == nil {
		err = s.mendIndex(v)
	}
	if err == nil {
		mended += s.target.compareSums(v, func(b storage.RestBlock) { unmended(b, errRestsDiffer) })
	}
	if err == nil && generation(v.Origin()) != of {
		err = errors.New("the log was compacted meanwhile, and is read again")
	}
	s.finish(state, damaged, err)
	if err == nil && mended > 0 && len(damaged) == 0 {
		s.target.healed(v, end)
	}
}

// mendIndex mends a volume's index file, for which no other copy is needed.
func (s *scrubber) mendIndex(v *storage.Volume) error {
	n, err := v.MendIndexFile()
	if err != nil {
		return fmt.Errorf("index file: %w", err)
	}
	s.found.Add(uint64(n))
	s.mended.Add(uint64(n))
	return nil
}

func (s *scrubber) reached(offset int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes.Add(uint64(offset - s.offset))
	s.offset = offset
}

// damage deals with what a pass has found.
func (s *scrubber) damage(v *storage.Volume, end int64, d storage.Damage) (mended bool) {
	var err error
	if !d.InVain {
		s.found.Add(1)
		if err = s.target.mend(v, d.Offset, end); err == nil {
			return true
		}
	}
	s.logger.Error("a volume is damaged, and is not mended", "volume", v.ID(), "offset", d.Offset, "bytes", d.Length,
		"reason", d.Reason, "error", err)
	return false
}

// finish ends a pass.
func (s *scrubber) finish(state *scrubState, damaged []wire.DamagedRange, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	state.underWay, state.failure = false, ""
	state.due = now.Add(s.every)
	if err != nil {
		state.failure = err.Error()
		state.due = now.Add(min(s.every, scrubRetry))
	} else {
		state.damaged, state.finishedAt, state.bytes = damaged, now, s.offset
	}
	s.reading, s.offset, s.length = 0, 0, 0
}

// noteMended takes down that a record was mended, for a pass or for a read.
func (s *scrubber) noteMended(id blob.VolumeID, offset int64) {
	s.mended.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state(id)
	state.mended++
	state.damaged = slices.DeleteFunc(slices.Clone(state.damaged), func(d wire.DamagedRange) bool { return d.Offset == offset })
}

// order has volumes read at once, all of them for id 0.
func (s *scrubber) order(id blob.VolumeID) {
	ids := []blob.VolumeID{id}
	if id == 0 {
		ids = s.target.scrubVolumes()
	}
	s.mu.Lock()
	for _, id := range ids {
		s.state(id).ordered = true
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// status tells of one volume, or of all for id 0.
func (s *scrubber) status(id blob.VolumeID) wire.ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := wire.ScrubStatus{BytesPerSecond: s.rate, Reading: uint32(s.reading), Offset: s.offset, Length: s.length,
		Volumes: []wire.VolumeScrub{}}
	for of, state := range s.volumes {
		if id != 0 && of != id {
			continue
		}
		v := wire.VolumeScrub{ID: uint32(of), Pending: state.ordered || state.underWay, Bytes: state.bytes, Error: state.failure,
			Mended: state.mended, Damaged: state.damaged}
		if !state.finishedAt.IsZero() {
			v.FinishedAtSecond = state.finishedAt.Unix()
		}
		status.Volumes = append(status.Volumes, v)
	}
	slices.SortFunc(status.Volumes, func(a, b wire.VolumeScrub) int { return cmp.Compare(a.ID, b.ID) })
	return status
}
