package master

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

const (
	// vacuumRetry is when a volume that could not be vacuumed is tried again without being asked.
	vacuumRetry = 10 * time.Minute
	// followRetry is that for one of which some copies are compacted and others are not.
	followRetry = 10 * time.Second
	// reportTimeout bounds how long a vacuum that is asked for waits for reports.
	reportTimeout = 3 * time.Second
)

// serveVacuum answers /vol/vacuum: it has the volumes compacted whose share of deleted bytes has reached the
// threshold, or that one of them which is named, and then answers as /dir/status; or, of one that is named, why not.
func (t *term) serveVacuum(ctx *fasthttp.RequestCtx) {
	threshold, id, err := t.readVacuum(ctx)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	t.awaitServers()
	t.askForReports(id)
	var refused error // of the volume that is named
	t.vacuum(threshold, func(at garbage) bool { return id == 0 || at.id == id }, func(at garbage, err error) {
		t.log.Warn("a volume was not vacuumed", "volume", uint32(at.id), "server", at.server, "err", err)
		if id != 0 {
			refused = fmt.Errorf("%w: volume %d is not vacuumed: %w", errRefused, id, err)
		}
	})
	if refused != nil {
		t.fail(ctx, refused)
		return
	}
	t.serveDirStatus(ctx)
}

// askForReports has the servers that hold a volume, all of them for id 0, tell what they hold now: what was deleted a
// moment ago may be what somebody wants to be rid of. One that does not answer is known by what it told before.
func (t *term) askForReports(id blob.VolumeID) {
	var servers []string
	t.tree.Walk(func(s topology.ServerStatus) {
		if id == 0 || slices.ContainsFunc(s.Volumes, func(v wire.VolumeInfo) bool { return v.ID == uint32(id) }) {
			servers = append(servers, s.URL)
		}
	})
	ctx, cancel := context.WithTimeout(t.ctx, reportTimeout)
	defer cancel()
	each(len(servers), func(i int) {
		if err := t.client.PostJSON(ctx, servers[i], wire.PathVolumeReport, struct{}{}, nil); err != nil {
			t.log.Info("a volume server does not report", "server", servers[i], "err", err)
		}
	})
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

// garbage is a volume of which much was deleted, or whose copies are not compacted alike.
type garbage struct {
	id     blob.VolumeID
	server string          // by whose copy the others go
	extent topology.Extent // of that copy
	lags   bool            // that copy is compacted already, and others are to follow
	others []string        // who hold the other copies
}

// errAway is why a volume is passed over: a server that comes back would have to be brought all of a compacted log.
var errAway = errors.New("a copy of the volume is missing, or does not have everything yet: it is vacuumed when all are there")

// vacuum has all volumes compacted of which so large a share is deleted, and that wanted accepts: those that one server
// leads one after the other, servers at the same time. Where the copies are not compacted alike, as after a server was
// away in the middle of it, those that lag behind follow. It returns when that is done. failed is called, concurrently,
// for those that are not.
func (t *term) vacuum(threshold float64, wanted func(garbage) bool, failed func(garbage, error)) {
	var servers [][]garbage
	t.tree.Walk(func(s topology.ServerStatus) {
		var here []garbage
		for i := range s.Volumes {
			info := &s.Volumes[i]
			v, ok := t.machine.Volume(blob.VolumeID(info.ID))
			if !ok || !served(v) || string(v.Primary) != s.URL {
				continue
			}
			at, complete := t.garbageOf(v, info)
			deleted := info.DeletedByteCount > 0 && float64(info.DeletedByteCount) >= threshold*float64(info.SizeBytes)
			switch {
			case !deleted && !at.lags || !wanted(at):
			case !complete || len(v.Members) < v.Copies():
				failed(at, errAway)
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
			if err := t.vacuumVolume(at); err != nil {
				failed(at, err)
			}
		}
	})
}

// garbageOf looks at the copies of a volume; info is the primary's report. complete says that all members are there and
// have everything.
func (t *term) garbageOf(v *state.Volume, info *wire.VolumeInfo) (at garbage, complete bool) {
	at = garbage{id: v.ID, server: string(v.Primary), extent: topology.ExtentOf(info)}
	complete = true
	for _, m := range v.Members {
		if m == v.Primary {
			continue
		}
		p := t.tree.Presence(v.ID, string(m))
		complete = complete && p.Holds && p.InSync
		if at.lags = at.lags || p.Holds && !p.Extent.SameFile(at.extent); p.Holds && compactedLater(p.Extent, at.extent) {
			at.server, at.extent = string(m), p.Extent
		}
	}
	for _, m := range v.Members {
		if string(m) != at.server {
			at.others = append(at.others, string(m))
		}
	}
	return at, complete
}

// compactedLater reports whether a copy was compacted after another one: what is committed only grows.
func compactedLater(a, b topology.Extent) bool {
	return a.Floor > b.Floor || a.Floor == b.Floor && a.Revision > b.Revision
}

// vacuumVolume has the copies of a volume compacted in the same way, and waits for the reports of it. The primary's comes
// last, but for the question what will come out: until then the others have it to be mended from.
func (t *term) vacuumVolume(at garbage) error {
	order := wire.VacuumVolume{ID: uint32(at.id), Revision: at.extent.Revision}
	var done wire.Origin
	switch {
	case at.lags:
		var first wire.VacuumStatus
		if err := t.client.GetJSON(t.ctx, at.server, fmt.Sprintf("%s?volumeId=%d", wire.PathVolumeVacuum, at.id), &first); err != nil {
			return err
		}
		done = first.Origin
	case len(at.others) == 0:
		first, err := t.compact(at.server, order)
		if err != nil {
			return err
		}
		done = first.Origin
	default:
		order.Survey = true
		first, err := t.compact(at.server, order)
		if err == nil && first.Planned == nil {
			err = errors.New("the copy was compacted just now")
		}
		if err != nil {
			return err
		}
		done = *first.Planned
	}
	follow := wire.VacuumVolume{ID: uint32(at.id), Follow: &done}
	failures := make([]error, len(at.others))
	each(len(at.others), func(i int) {
		if _, err := t.compact(at.others[i], follow); err != nil {
			failures[i] = fmt.Errorf("on %s: %w", at.others[i], err)
		}
	})
	err := errors.Join(failures...)
	if err == nil && order.Survey {
		_, err = t.compact(at.server, follow)
	}
	if err != nil {
		return err
	}
	t.awaitReports(at, topology.Extent{Floor: done.Floor, Revision: done.Revision})
	t.log.Info("volume vacuumed", "volume", uint32(at.id), "server", at.server, "others", at.others, "revision", done.Revision)
	return nil
}

// compact orders a compaction until it is done, or has failed.
func (t *term) compact(server string, order wire.VacuumVolume) (status wire.VacuumStatus, err error) {
	for t.ctx.Err() == nil {
		status = wire.VacuumStatus{}
		err := t.order(server, wire.PathVolumeVacuum, order, &status)
		var refused *client.StatusError
		switch {
		case errors.As(err, &refused):
			return status, errors.New(refused.Message)
		case err != nil:
			return status, err
		case status.Error != "":
			return status, errors.New(status.Error)
		case !status.Running:
			return status, nil
		}
	}
	return status, t.ctx.Err()
}

// awaitReports waits for the heartbeats that tell of a compaction; a pulse is the longest that these can take.
func (t *term) awaitReports(at garbage, done topology.Extent) {
	ctx, cancel := context.WithTimeout(t.ctx, t.cfg.Pulse)
	defer cancel()
	told := func(server string) bool {
		p := t.tree.Presence(at.id, server)
		return !p.Holds || p.Extent.SameFile(done)
	}
	for {
		heard := t.news.wait()
		if told(at.server) && !slices.ContainsFunc(at.others, func(s string) bool { return !told(s) }) {
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
		lags   bool
	}
	refused := map[blob.VolumeID]refusal{}
	t.everyPulse(nil, func() {
		if t.warming() {
			return
		}
		now := t.deps.Now()
		waiting := func(at garbage) bool {
			r := refused[at.id]
			return !r.until.After(now) || at.lags && !r.lags
		}
		var mu sync.Mutex // guards refusals
		refusals := map[blob.VolumeID]refusal{}
		t.vacuum(t.cfg.GarbageThreshold, waiting, func(at garbage, err error) {
			mu.Lock()
			defer mu.Unlock()
			if refused[at.id].reason != err.Error() && t.ctx.Err() == nil {
				t.log.Warn("a volume can't be vacuumed", "volume", uint32(at.id), "server", at.server, "err", err)
			}
			retry := vacuumRetry
			if at.lags {
				retry = followRetry
			}
			refusals[at.id] = refusal{err.Error(), now.Add(retry), at.lags}
		})
		maps.Copy(refused, refusals)
	})
}
