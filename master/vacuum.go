package master

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/topology"
)

// vacuumRetry is when a volume that could not be vacuumed is tried again without being asked.
const vacuumRetry = 10 * time.Minute

// serveVacuum answers /vol/vacuum: it has the volumes compacted whose share of deleted bytes has reached the
// threshold, or that one of them which is named, and then answers as /dir/status.
func (t *term) serveVacuum(ctx *fasthttp.RequestCtx) {
	threshold, id, err := t.readVacuum(ctx)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	t.awaitServers()
	t.vacuum(threshold, func(at garbage) bool { return id == 0 || at.id == id }, func(at garbage, err error) {
		t.log.Warn("a volume was not vacuumed", "volume", uint32(at.id), "server", at.server, "err", err)
	})
	t.serveDirStatus(ctx)
}

// readVacuum reads the parameters; id is 0 for all volumes.
func (t *term) readVacuum(ctx *fasthttp.RequestCtx) (threshold float64, id blob.VolumeID, err error) {
	threshold = t.cfg.GarbageThreshold
	if text := param(ctx, "garbageThreshold"); text != "" {
		threshold, err = strconv.ParseFloat(text, 64)
		if err != nil || !(threshold >= 0 && threshold <= 1) {
			return 0, 0, fmt.Errorf("%w garbageThreshold %.32q: give a share from 0 to 1", errMalformed, text)
		}
	}
	if text := param(ctx, "volumeId"); text != "" {
		if id, err = blob.ParseVolumeID(text); err != nil {
			return 0, 0, err
		}
		if _, ok := t.machine.Volume(id); !ok {
			return 0, 0, fmt.Errorf("volume %d %w", id, errNotFound)
		}
	}
	return threshold, id, nil
}

// garbage is a copy of a volume of which much was deleted.
type garbage struct {
	id       blob.VolumeID
	server   string
	revision uint16
}

// errSeveralCopies is why a volume is passed over.
var errSeveralCopies = errors.New("volumes of several copies are not vacuumed: the copies would differ meanwhile")

// vacuum has all copies compacted of which so large a share is deleted, and that wanted accepts: those of one server
// one after the other, servers at the same time. It returns when that is done. failed is called, concurrently, for
// those that are not.
func (t *term) vacuum(threshold float64, wanted func(garbage) bool, failed func(garbage, error)) {
	var servers [][]garbage
	t.tree.Walk(func(s topology.ServerStatus) {
		var here []garbage
		for i := range s.Volumes {
			info := &s.Volumes[i]
			at := garbage{blob.VolumeID(info.ID), s.URL, info.CompactRevision}
			if info.DeletedByteCount == 0 || float64(info.DeletedByteCount) < threshold*float64(info.SizeBytes) {
				continue
			}
			v, ok := t.machine.Volume(at.id)
			if !ok || !served(v) || string(v.Primary) != at.server || !wanted(at) {
				continue
			}
			switch {
			case v.Copies() > 1 || len(v.Members) > 1:
				failed(at, errSeveralCopies)
			case t.copies.of(at.id) != nil:
				failed(at, fmt.Errorf("volume %d %w", at.id, errBusy))
			default:
				here = append(here, at)
			}
		}
		if len(here) > 0 {
			servers = append(servers, here)
		}
	})
	each(len(servers), func(i int) {
		for _, at := range servers[i] {
			if err := t.vacuumCopy(at); err != nil {
				failed(at, err)
			}
		}
	})
}

// vacuumCopy has one copy compacted, and waits for that and for the report of it.
func (t *term) vacuumCopy(at garbage) error {
	for t.ctx.Err() == nil {
		var status wire.VacuumStatus
		err := t.order(at.server, wire.PathVolumeVacuum, wire.VacuumVolume{ID: uint32(at.id), Revision: at.revision}, &status)
		var refused *client.StatusError
		switch {
		case errors.As(err, &refused):
			return errors.New(refused.Message)
		case err != nil:
			return err
		case status.Error != "":
			return errors.New(status.Error)
		case !status.Running:
			t.awaitRevision(at)
			t.log.Info("volume vacuumed", "volume", uint32(at.id), "server", at.server, "revision", status.Revision)
			return nil
		}
	}
	return t.ctx.Err()
}

// awaitRevision waits for the heartbeat that tells of a compaction; a pulse is the longest that it can take.
func (t *term) awaitRevision(at garbage) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Pulse)
	defer cancel()
	for {
		heard := t.news.wait()
		if p := t.tree.Presence(at.id, at.server); !p.Holds || p.Revision != at.revision {
			return
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return
		}
	}
}

// vacuumByItself vacuums at the configured threshold until the term ends.
func (t *term) vacuumByItself() {
	type refusal struct {
		reason string
		until  time.Time
	}
	refused := map[blob.VolumeID]refusal{}
	t.everyPulse(nil, func() {
		if t.warming() {
			return
		}
		now := t.deps.Now()
		waiting := func(at garbage) bool { return !refused[at.id].until.After(now) }
		var mu sync.Mutex // guards failures
		failures := map[garbage]error{}
		t.vacuum(t.cfg.GarbageThreshold, waiting, func(at garbage, err error) {
			mu.Lock()
			defer mu.Unlock()
			failures[at] = err
		})
		if t.ctx.Err() != nil {
			return
		}
		for at, err := range failures {
			if refused[at.id].reason != err.Error() {
				t.log.Warn("a volume can't be vacuumed", "volume", uint32(at.id), "server", at.server, "err", err)
			}
			refused[at.id] = refusal{err.Error(), now.Add(vacuumRetry)}
		}
	})
}
