package volume

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/wire"
	"weed/replication/live"
	"weed/storage"
)

var (
	errNoOtherCopy = errors.New("there is no other copy to mend it from")
	errCopyOf      = errors.New("another copy does not answer for these bytes")
	errUnsettled   = fmt.Errorf("%w: this copy does not know what the others have", storage.ErrWait)
)

// fetchTimeout bounds how long another server may take for a piece of a log.
const fetchTimeout = 10 * time.Second

// isDamage reports whether an error of a read says that the disk has lost what it held.
func isDamage(err error) bool {
	return errors.Is(err, storage.ErrCorrupt) || errors.Is(err, syscall.EIO)
}

// scrubVolumes implements scrubTarget.
func (s *Server) scrubVolumes() (ids []blob.VolumeID) {
	for _, v := range s.store.Volumes() {
		ids = append(ids, v.ID)
	}
	return ids
}

// scrubExtent implements scrubTarget.
func (s *Server) scrubExtent(id blob.VolumeID) (*storage.Volume, string, int64, error) {
	v, ok := s.store.Volume(id)
	if !ok {
		return nil, "", 0, storage.ErrNoVolume
	}
	of := generation(v.Origin())
	end, err := s.settledEnd(v)
	return v, of, end, err
}

// settledEnd returns up to where a volume's log is known to be that of all copies. errUnsettled: this copy does not know.
//
// A copy that was damaged when it was opened takes no part in its group, and is not told what is committed. All of its
// log may be compared with the others' nevertheless: what they have committed at an offset belongs there here,
// too, and what is here and was never committed is cut before the copy serves again.
func (s *Server) settledEnd(v *storage.Volume) (int64, error) {
	r := s.node.Replica(v.ID())
	if r == nil {
		length, _ := extentOf(v)
		return length, nil
	}
	switch status := r.Look(); {
	case status.InSync:
		return min(committedIn(status), v.SizeBytes()), nil
	case status.Failed && v.DamagedWhenOpened():
		return v.SizeBytes(), nil
	}
	return 0, errUnsettled
}

// mend implements scrubTarget.
func (s *Server) mend(v *storage.Volume, offset, end int64) error {
	others := s.othersOf(v.ID())
	if len(others) == 0 {
		return errNoOtherCopy
	}
	var failures error
	for _, other := range others {
		mended, err := v.Mend(offset, end, s.logOf(other, v))
		if errors.Is(err, storage.ErrUnvouched) && s.settleRest(v, offset) == nil {
			mended, err = v.Mend(offset, end, s.logOf(other, v))
		}
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("from %s: %w", other, err))
			continue
		}
		if mended.Changed > 0 { // else somebody was faster
			s.scrub.noteMended(v.ID(), offset)
			s.cfg.Logger.Warn("a damaged record of a volume was replaced by that of another copy", "volume", v.ID(),
				"offset", offset, "bytes", mended.Length, "written", mended.Changed, "from", other)
		}
		return nil
	}
	return failures
}

// othersOf returns the other servers that hold a replicated volume, in any order.
func (s *Server) othersOf(id blob.VolumeID) (others []string) {
	r := s.node.Replica(id)
	if r == nil {
		return nil
	}
	for _, m := range r.Status().Config.Members {
		if string(m) != s.cfg.URL {
			others = append(others, string(m))
		}
	}
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return others
}

// logOf reads another server's copy of a volume's log.
func (s *Server) logOf(other string, v *storage.Volume) storage.Source {
	return func(p []byte, offset int64) error {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		status, body, err := s.client.Forward(ctx, &client.Request{
			Method: fasthttp.MethodGet, Host: other, Idempotent: true,
			Path: fmt.Sprintf("%s?volumeId=%d&generation=%s&offset=%d&length=%d", wire.PathVolumeLog, v.ID(), generation(v.Origin()), offset, len(p)),
		}, p[:0:len(p)])
		switch {
		case err != nil:
			return err
		case status == fasthttp.StatusConflict:
			return fmt.Errorf("%w: %w", errCopyOf, errGeneration)
		case status != fasthttp.StatusOK:
			return fmt.Errorf("%w: %d %.200s", errCopyOf, status, body)
		case len(body) != len(p):
			return fmt.Errorf("%w: %d bytes, not %d", errCopyOf, len(body), len(p))
		}
		copy(p, body) // it is there already, unless it came in a larger buffer
		return nil
	}
}

// healed implements scrubTarget: a volume that was opened damaged, and is whole now, is opened again, and with that
// its copy can take part in its group.
func (s *Server) healed(v *storage.Volume, end int64) {
	if end != v.SizeBytes() || !v.DamagedWhenOpened() {
		return
	}
	id := v.ID()
	again, err := s.store.Reopen(id)
	// Until here reads still meet the replica that has failed, or retired, which answers none.
	if err == nil && s.node.Replica(id) != nil {
		_, err = s.node.Open(again, nil)
	}
	if err != nil {
		s.cfg.Logger.Error("a volume that was mended can't be opened again", "volume", id, "error", err)
		return
	}
	s.cfg.Logger.Info("a volume that was damaged is whole again", "volume", id, "readOnly", again.ReadOnly().String())
	s.beat.kick()
}

// heal mends a blob that a read found damaged. It reports whether the blob is to be read again.
func (s *Server) heal(v *storage.Volume, key blob.Key) bool {
	offset, ok := v.OffsetOf(key)
	if !ok || s.node.Replica(v.ID()) == nil {
		return false
	}
	lock := &s.healing[(uint64(v.ID())<<32+uint64(offset)/8)%uint64(len(s.healing))]
	first := lock.TryLock()
	if !first {
		lock.Lock()
	}
	defer lock.Unlock()
	if !first {
		return true // another read has just done what can be done
	}
	s.scrub.found.Add(1)
	end, err := s.settledEnd(v)
	if err == nil {
		err = s.mend(v, offset, end)
	}
	if err != nil {
		s.cfg.Logger.Error("a blob is damaged, and is not mended", "volume", v.ID(), "offset", offset, "error", err)
	}
	return err == nil
}

// notAnswered are the fields of another server's answer that are not this one's: those of the connection.
var notAnswered = map[string]bool{
	fasthttp.HeaderConnection: true, fasthttp.HeaderTransferEncoding: true, fasthttp.HeaderDate: true, fasthttp.HeaderServer: true,
	fasthttp.HeaderContentLength: true, "Keep-Alive": true,
}

// answerFromOther has another copy answer a read of a blob that is damaged here and can't be mended. It returns false,
// and has answered nothing, if none does.
func (s *Server) answerFromOther(ctx *fasthttp.RequestCtx, r *live.Replica) bool {
	if len(ctx.Request.Header.Peek(passedOnHeader)) > 0 {
		return false
	}
	request := passedOn(ctx)
	request.Idempotent = true
	for _, other := range s.othersOf(r.Volume()) {
		var fields []client.Field
		length := -1
		request.Host = other
		request.AnswerField = func(name, value []byte) {
			if string(name) == fasthttp.HeaderContentLength {
				length, _ = fasthttp.ParseUint(value)
			}
			if !notAnswered[string(name)] {
				fields = append(fields, client.Field{Name: string(name), Value: string(value)})
			}
		}
		within, cancel := context.WithTimeout(context.Background(), passTimeout)
		status, body, err := s.client.Forward(within, &request, nil)
		cancel()
		if err != nil || !settlesRead(status) {
			s.cfg.Logger.Warn("another copy does not answer a read either", "volume", r.Volume(), "server", other, "status", status, "error", err)
			continue
		}
		ctx.SetStatusCode(status)
		ctx.Response.Header.SetNoDefaultContentType(true)
		for _, f := range fields {
			if status != fasthttp.StatusNotModified || f.Name != fasthttp.HeaderContentType { // which nobody has sent
				ctx.Response.Header.Set(f.Name, f.Value)
			}
		}
		if ctx.IsHead() {
			ctx.Response.SkipBody = true
			ctx.Response.Header.SetContentLength(length)
		} else {
			ctx.Response.SetBodyRaw(body)
		}
		return true
	}
	return false
}

// settlesRead reports whether an answer says what is to be said of a blob.
func settlesRead(status int) bool {
	switch status {
	case fasthttp.StatusOK, fasthttp.StatusPartialContent, fasthttp.StatusNotModified, fasthttp.StatusNotFound,
		fasthttp.StatusPreconditionFailed, fasthttp.StatusRequestedRangeNotSatisfiable:
		return true
	}
	return false
}
