package filer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"weed/client"
	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/wire"
)

const (
	suspectsAtOnce = 1024 // chunks that are asked for together
	asksAtOnce     = 16
	storeTries     = 6 // of reads, while the store is away
	// clockSkew is by how much a volume server's clock may be ahead: chunks with a time to live may go before their file.
	clockSkew = time.Minute
)

// again does a read of the store until it answers, for about half a minute.
func again(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if !errors.Is(err, store.ErrUnavailable) || try == storeTries || !pause(ctx, 500*time.Millisecond<<try) {
			return err
		}
	}
}

// readTree calls visit for the entries below a directory, those that have expired among them. One that can't be read is
// told: nobody knows what it refers to.
func (v *verifier) readTree(ctx context.Context, dir store.Path, visit func(context.Context, store.Path, *Entry) error) error {
	lists := func(ctx context.Context, dir store.Path, opts store.ListOptions) (list []store.Record, err error) {
		err = again(ctx, func() error {
			list, err = v.f.store.List(ctx, dir, opts)
			return err
		})
		return list, err
	}
	return visitRecords(ctx, lists, dir, func(path store.Path, rec *store.Record) error { return v.read(ctx, path, rec, visit) })
}

func (v *verifier) read(ctx context.Context, path store.Path, rec *store.Record, visit func(context.Context, store.Path, *Entry) error) error {
	v.looked.Add(1)
	e, err := decodeEntry(rec.Value)
	if err != nil {
		v.fail("%s: %v", path, err)
		return nil
	}
	return visit(ctx, path, e)
}

// suspect is a file with chunks that were not listed.
type suspect struct {
	path   store.Path
	chunks int
	fids   []blob.FileID
}

// visit marks what an entry refers to, and notes what of it is not there.
func (v *verifier) visit(ctx context.Context, path store.Path, e *Entry) error {
	if v.first && e.IsDir() {
		v.result.Directories++
	} else if v.first {
		v.result.Files++
	}
	s := suspect{path: path, chunks: len(e.Chunks)}
	for i := range e.Chunks {
		fid := e.Chunks[i].FID
		switch {
		case v.set.holds(fid.Volume, fid.Key):
			if n := v.set.find(fid.Volume, fid.Key); n != nil && n.cookie == uint32(fid.Cookie) {
				n.state |= referred
				continue
			}
		case v.volumes[fid.Volume] != nil && v.volumes[fid.Volume].volume != nil || !v.first:
			continue // another group has it
		}
		s.fids = append(s.fids, fid)
	}
	if len(s.fids) == 0 || e.expired(v.f.now().Add(clockSkew)) {
		return nil
	}
	v.suspects = append(v.suspects, s)
	if v.pending += len(s.fids); v.pending >= suspectsAtOnce {
		return v.flush(ctx)
	}
	return nil
}

// flush asks for the chunks of the suspects, and tells which files miss some.
func (v *verifier) flush(ctx context.Context) error {
	var ask []blob.FileID
	for _, s := range v.suspects {
		for _, fid := range s.fids {
			state := v.volumes[fid.Volume]
			if state == nil {
				state = &volumeState{}
				v.volumes[fid.Volume] = state
				if _, err := v.f.client.Lookup(ctx, uint32(fid.Volume)); errors.Is(err, client.ErrNotFound) {
					state.gone = true
				}
			}
			if !state.gone && !state.unreachable {
				ask = append(ask, fid)
			}
		}
	}
	missing, unknown := v.ask(ctx, ask)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for fid, err := range unknown {
		if state := v.volumes[fid.Volume]; !state.unreachable {
			state.unreachable = true
			v.fail("volume %d was not looked at: %v", fid.Volume, err)
		}
	}
	for _, s := range v.suspects {
		s.fids = slices.DeleteFunc(s.fids, func(fid blob.FileID) bool { return !missing[fid] && !v.volumes[fid.Volume].gone })
		if len(s.fids) == 0 {
			continue
		}
		if err := v.complain(ctx, s); err != nil {
			return err
		}
	}
	v.suspects, v.pending = nil, 0
	return nil
}

// ask asks the volume servers for blobs, and returns those that are not there, and those of which nobody knows.
func (v *verifier) ask(ctx context.Context, fids []blob.FileID) (missing map[blob.FileID]bool, unknown map[blob.FileID]error) {
	missing, unknown = make(map[blob.FileID]bool), make(map[blob.FileID]error)
	var mu sync.Mutex // guards both
	var group sync.WaitGroup
	room := make(chan struct{}, asksAtOnce)
	for _, fid := range fids {
		mu.Lock()
		failed := len(unknown) >= asksAtOnce // a server that is away is not asked a thousand times
		mu.Unlock()
		if failed {
			break
		}
		room <- struct{}{}
		group.Go(func() {
			defer func() { <-room }()
			found, err := v.f.client.Exists(ctx, fid.String())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				unknown[fid] = err
			case !found:
				missing[fid] = true
			}
		})
	}
	group.Wait()
	return missing, unknown
}

// danglingFile is a file that misses chunks.
type danglingFile struct {
	told  wire.DanglingFile
	fid   blob.FileID
	aside bool
}

// complain tells that a file misses chunks, if it still refers to them.
func (v *verifier) complain(ctx context.Context, s suspect) error {
	refers, err := v.refers(ctx, s.path, s.fids[0])
	if err != nil || !refers {
		return err
	}
	if _, told := v.dangling[s.path]; told {
		return nil // by another group
	}
	fid := s.fids[0]
	d := danglingFile{fid: fid, aside: isAside(s.path)}
	d.told = wire.DanglingFile{Path: string(s.path), Missing: len(s.fids), Chunks: s.chunks, FID: fid.String(), Aside: d.aside,
		Reason: "no server has the chunk"}
	if v.volumes[fid.Volume].gone {
		d.told.Reason = fmt.Sprintf("there is no volume %d", fid.Volume)
	}
	if d.aside {
		v.result.Aside++
	} else {
		v.result.Dangling++
	}
	v.emit(&wire.VerifyEvent{Dangling: &d.told})
	if len(v.dangling) < maxDangling {
		v.dangling[s.path] = d
	}
	return nil
}

// refers reports whether the entry at a path refers to a chunk now.
func (v *verifier) refers(ctx context.Context, path store.Path, fid blob.FileID) (refers bool, err error) {
	var e *Entry
	err = again(ctx, func() error {
		e, _, err = v.f.find(ctx, path)
		return err
	})
	if isNotFound(err) {
		return false, nil
	}
	return err == nil && slices.ContainsFunc(e.Chunks, func(c Chunk) bool { return c.FID == fid }), err
}

// asideDir is where files that miss chunks are moved to, under their whole paths.
const asideDir = store.Path("/lost+found")

func isAside(path store.Path) bool { return strings.HasPrefix(string(path), string(asideDir)+"/") }

// moveAside moves the files that miss chunks.
func (v *verifier) moveAside(ctx context.Context) error {
	for path, d := range v.dangling {
		if d.aside {
			continue
		}
		to, err := v.moveOne(ctx, path, d.fid)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			v.fail("%s was not moved aside: %v", path, err)
		case to != "":
			d.told.MovedTo = string(to)
			v.emit(&wire.VerifyEvent{Dangling: &d.told})
			v.result.Aside++
			v.result.Dangling--
		default: // it is another file by now, or gone
			v.result.Dangling--
		}
	}
	return nil
}

const maxAsideNames = 100

// moveOne moves a file that still misses a chunk, and returns where it is then; "" if it does not refer to that any more.
func (v *verifier) moveOne(ctx context.Context, path store.Path, fid blob.FileID) (store.Path, error) {
	for n := 0; n < maxAsideNames; {
		e, version, err := v.f.find(ctx, path)
		if isNotFound(err) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(e.Chunks, func(c Chunk) bool { return c.FID == fid }) {
			return "", nil
		}
		to := asideDir + path
		if n > 0 {
			to += store.Path(fmt.Sprintf("~%d", n))
		}
		if _, _, err := parsePath(string(to)); err != nil {
			return "", err
		}
		if err = v.f.renameTo(ctx, path, version, to, 0, store.Effects{}); !isConflict(err) {
			return to, err
		}
		n++ // something is there, or the file has changed
	}
	return "", store.ErrConflict
}
