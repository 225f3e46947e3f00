package filer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/wire"
)

const (
	defaultGrace   = 10 * time.Minute
	verifyProgress = time.Second
	verifyKeys     = 8 << 20 // 16 bytes each
	maxCandidates  = 2 << 20 // leaks that one run looks at
	maxDangling    = 100_000 // files that miss chunks and are remembered
)

// errVerifying says that a verification is under way already.
var errVerifying = errors.New("the filer is being verified already: wait for the end of that")

// verifier compares the tree with the blobs on the volume servers, in both directions.
//
// Files that miss chunks: the blobs of a group of volumes are listed, so many at a time as fit into memory, then the tree
// is read, and what refers to a blob that was not listed is asked for once more by itself: it may be new.
//
// Leaks: what is left of the listed blobs that carry the filer's namespace, are older than the grace time, and that no
// record, claim or drop refers to. For those confirm reads all of that again, in the order in which a chunk goes through
// it: claims, the tree, removed trees, drops, and then the volumes. Whatever happens to a chunk meanwhile, it is met in
// one of these, or it is gone. Records may change their place while the tree is read; see moves.
type verifier struct {
	f      *Filer
	grace  time.Duration
	fix    bool
	move   bool // files that miss chunks aside
	began  time.Time
	emit   func(*wire.VerifyEvent)
	result wire.VerifyResult // for the goroutine of run

	volumes    map[blob.VolumeID]*volumeState
	candidates map[blob.VolumeID][]needle // that may have leaked, maxCandidates in all
	found      int                        // candidates
	dangling   map[store.Path]danglingFile
	suspects   []suspect
	pending    int // chunks of suspects
	first      bool
	set        needleSet

	phase                     atomic.Value // string
	listed, of, blobs, looked atomic.Int64
}

// volumeState is what is known of a volume.
type volumeState struct {
	volume      *client.Volume // nil for one that no server has told of
	gone        bool           // the masters know of no such volume
	unreachable bool           // some server that holds it does not answer, which was told
}

// serveVerify answers POST /.weed/verify: see wire.PathFilerVerify.
func (f *Filer) serveVerify(w http.ResponseWriter, r *http.Request) {
	v, err := f.newVerifier(r.URL.Query())
	if err == nil && !f.verifying.TryLock() {
		err = errVerifying
	}
	if err != nil {
		f.fail(w, r, err)
		return
	}
	defer f.verifying.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.serving, cancel)()

	w.Header().Set("Content-Type", "application/x-ndjson")
	var mu sync.Mutex // around writes
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	out.SetEscapeHTML(false)
	v.emit = func(e *wire.VerifyEvent) {
		mu.Lock()
		defer mu.Unlock()
		err := out.Encode(e)
		if e.Progress != nil || e.Result != nil {
			err = errors.Join(err, flush.Flush())
		}
		if err != nil {
			cancel() // nobody listens
		}
	}
	var beside sync.WaitGroup
	telling, stop := context.WithCancel(ctx)
	beside.Go(func() { v.tell(telling) })
	v.run(ctx)
	stop()
	beside.Wait()
	if f.serving.Err() != nil {
		v.fail("the filer ends")
	}
	v.emit(&wire.VerifyEvent{Result: &v.result})
}

func (f *Filer) newVerifier(q url.Values) (*verifier, error) {
	v := &verifier{f: f, grace: defaultGrace, fix: isTrue(q.Get("fix")), move: isTrue(q.Get("moveDangling")), began: time.Now(),
		volumes: make(map[blob.VolumeID]*volumeState), dangling: make(map[store.Path]danglingFile), candidates: make(map[blob.VolumeID][]needle)}
	v.phase.Store("list")
	if text := q.Get("graceSeconds"); text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%w graceSeconds %.40q: give a number of seconds", errParameter, text)
		}
		v.grace = time.Duration(n) * time.Second
	}
	if v.move && !v.fix {
		return nil, fmt.Errorf("%w moveDangling: it goes with fix=true", errParameter)
	}
	return v, nil
}

// tell says how far it is until ctx ends, so that the connection is never silent.
func (v *verifier) tell(ctx context.Context) {
	for pause(ctx, verifyProgress) {
		phase, _ := v.phase.Load().(string)
		v.emit(&wire.VerifyEvent{Progress: &wire.VerifyProgress{Phase: phase, Volumes: v.listed.Load(), Of: v.of.Load(),
			Blobs: v.blobs.Load(), Entries: v.looked.Load()}})
	}
}

// fail tells what could not be looked at. Nothing is fixed after that.
func (v *verifier) fail(format string, args ...any) {
	v.result.Failures++
	v.emit(&wire.VerifyEvent{Failure: fmt.Sprintf(format, args...)})
}

// run does it all. What is wrong goes into the result.
func (v *verifier) run(ctx context.Context) {
	err := v.look(ctx)
	if err == nil {
		err = v.confirm(ctx)
	}
	if err == nil && v.move && v.result.Failures == 0 {
		err = v.moveAside(ctx)
	}
	if err != nil && ctx.Err() == nil {
		v.fail("%v", err)
	} else if ctx.Err() != nil {
		v.fail("it was broken off")
	}
	v.result.Blobs, v.result.Volumes = v.blobs.Load(), v.listed.Load()
}

// look lists all volumes, group by group, and reads the tree once for each group.
func (v *verifier) look(ctx context.Context) error {
	pairs, err := v.f.pairs(ctx)
	if err != nil {
		return err
	}
	v.result.Namespace = pairs["Filer"]
	volumes, err := v.f.client.VolumeList(ctx)
	if err != nil {
		return err
	}
	for i := range volumes {
		v.volumes[blob.VolumeID(volumes[i].ID)] = &volumeState{volume: &volumes[i]}
	}
	v.of.Store(int64(len(volumes)))
	for i, g := range groupVolumes(volumes, v.f.verifyKeys) {
		v.first = i == 0
		if err := v.lookAtGroup(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) lookAtGroup(ctx context.Context, g group) error {
	v.phase.Store("list")
	v.set = needleSet{part: g.part, parts: g.parts, volumes: make(map[blob.VolumeID][]needle, len(g.volumes))}
	for _, volume := range g.volumes {
		if err := v.listVolume(ctx, volume); err != nil {
			return err
		}
	}
	v.phase.Store("tree")
	v.looked.Store(0)
	err := v.readTree(ctx, "/", v.visit)
	if err == nil {
		err = v.flush(ctx)
	}
	if err == nil {
		err = v.markClaims(ctx, &v.set)
	}
	if err == nil {
		err = v.markDrops(ctx, &v.set)
	}
	if err != nil {
		return err
	}
	v.gather()
	v.set = needleSet{}
	return nil
}

// gather sums up a group, and keeps what may have leaked.
func (v *verifier) gather() {
	for id, list := range v.set.volumes {
		for _, n := range list {
			if !n.is(ours) {
				continue
			}
			v.result.Chunks++
			switch {
			case n.is(referred):
			case n.is(claimed):
				v.result.Pending++
			case !n.is(old):
				v.result.Young++
			case v.found == maxCandidates:
				v.result.More = true
			default:
				v.found++
				v.candidates[id] = append(v.candidates[id], n)
			}
		}
	}
}
