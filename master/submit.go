package master

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/topology"
)

// submitTries is how many volumes a submitted blob is offered to.
const submitTries = 3

// maxPicks bounds how far a submit looks for another volume.
const maxPicks = 64

// passedParams are the parameters of a put that /submit passes on to the volume server.
var passedParams = [...]string{"ts", "ttl", "cm", "fsync"}

// passedHeaders are the headers of a put that /submit passes on, beside those that begin with pairPrefix.
var passedHeaders = [...][]byte{[]byte("Content-Encoding"), []byte("Content-Disposition"), []byte("Content-Md5")}

var pairPrefix = []byte("Seaweed-")

// serveSubmit answers POST /submit: it assigns a fid and passes the body on, as it is, to a volume server.
func (t *term) serveSubmit(ctx *fasthttp.RequestCtx) {
	w, err := t.readWish(ctx, true)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	body, err := httpx.ReadBody(ctx, t.submits, submitLimit)
	if err != nil {
		t.fail(ctx, err)
		return
	}
	defer body.Release()
	if err := t.submit(ctx, w, body.Bytes); err != nil {
		t.fail(ctx, err)
	}
}

// submit stores the body under a new fid and answers the request, unless it returns an error. A volume that
// can't take the blob is followed by another one; the fid that it had is told to nobody.
func (t *term) submit(ctx *fasthttp.RequestCtx, w wish, body []byte) error {
	var room [8]client.Field
	request := client.Request{
		ContentType: view(ctx.Request.Header.ContentType()), Header: putHeaders(ctx, room[:0]), Body: body,
		Idempotent: true, // the same bytes under the same new fid
	}
	var pathRoom [256]byte
	var answer []byte
	var failed error
	var tried attempts
	full := 0 // disks
	for range submitTries {
		target, err := t.pickAgain(w, &tried)
		if err != nil {
			return err
		}
		a, err := t.assignTo(target, 1)
		if err != nil {
			return err
		}
		request.Host = target.Locations[0].URL
		path := appendPutPath(pathRoom[:0], ctx, &a)
		request.Path = view(path)
		var status int
		status, answer, err = t.client.Forward(t.calls, &request, answer)
		switch {
		case err == nil && status == fasthttp.StatusCreated:
			t.metrics.submitted.Inc()
			return answerSubmit(ctx, &a, answer)
		case err == nil && !mayElsewhere(status):
			httpx.RawJSON(ctx, status, answer)
			return nil
		case err == nil:
			if status == fasthttp.StatusInsufficientStorage {
				full++
				tried.full = append(tried.full, request.Host)
			}
			err = fmt.Errorf("%s answered %d: %.200s", request.Host, status, answer)
		case t.calls.Err() != nil:
			return context.Canceled
		}
		t.log.Warn("a volume did not take a submitted blob", "volume", uint32(target.ID), "server", request.Host, "err", err)
		tried.volumes = append(tried.volumes, target.ID)
		failed = err
	}
	if full == submitTries {
		return errDiskFull
	}
	return fmt.Errorf("%w: %w", errNotWritten, failed)
}

// attempts are what did not take a blob.
type attempts struct {
	volumes []blob.VolumeID
	full    []string // primaries of volumes for which there was no room on a disk
}

// regret says how little sense it makes to try a volume: 0 for none of those, 1 where there is a full disk, 2 for
// one that has been tried.
func (a *attempts) regret(target *topology.Target) int {
	switch {
	case slices.Contains(a.volumes, target.ID):
		return 2
	case slices.Contains(a.full, target.Locations[0].URL):
		return 1
	}
	return 0
}

// pickAgain picks a volume that has not been tried, and on another server than those that are full, as far as there
// is one. Volumes take turns, so that several picks show what there is.
func (t *term) pickAgain(w wish, tried *attempts) (*topology.Target, error) {
	best, err := t.pick(w, true)
	for i := 0; i < maxPicks && err == nil && tried.regret(best) > 0; i++ {
		next, err := t.tree.Pick(w.key, w.pref)
		if err != nil {
			break // all have turned read-only meanwhile
		}
		if tried.regret(next) < tried.regret(best) {
			best = next
		}
	}
	return best, err
}

// mayElsewhere reports whether a status of a put concerns the volume or its server, not the request.
func mayElsewhere(status int) bool {
	switch status {
	case fasthttp.StatusNotFound, fasthttp.StatusTooManyRequests, fasthttp.StatusInsufficientStorage:
		return true
	}
	return status >= 500
}

func appendPutPath(b []byte, ctx *fasthttp.RequestCtx, a *assignment) []byte {
	b = a.fid().AppendText(append(b, '/'))
	if len(ctx.URI().QueryString()) == 0 {
		return b
	}
	sep := byte('?')
	for _, name := range passedParams {
		if v := ctx.QueryArgs().Peek(name); len(v) > 0 {
			b = append(append(append(b, sep), name...), '=')
			b = fasthttp.AppendQuotedArg(b, v)
			sep = '&'
		}
	}
	return b
}

// putHeaders appends the headers that go on to the volume server, as views of the request.
func putHeaders(ctx *fasthttp.RequestCtx, dst []client.Field) []client.Field {
	for name, value := range ctx.Request.Header.All() {
		passed := len(name) > len(pairPrefix) && bytes.EqualFold(name[:len(pairPrefix)], pairPrefix)
		for _, p := range passedHeaders {
			passed = passed || bytes.EqualFold(name, p)
		}
		if passed {
			dst = append(dst, client.Field{Name: view(name), Value: view(value)})
		}
	}
	return dst
}

// answerSubmit makes the answer to the client from that of the volume server.
func answerSubmit(ctx *fasthttp.RequestCtx, a *assignment, put []byte) error {
	var stored struct {
		Name string `json:"name"`
		Size int64  `json:"size"`
		ETag string `json:"eTag"`
	}
	if err := json.Unmarshal(put, &stored); err != nil {
		return fmt.Errorf("%w: decode the answer of %s: %w", errNotWritten, a.target.Locations[0].URL, err)
	}
	fileURL := publicPath(a.target, a)
	if httpx.Pretty(ctx) {
		httpx.JSON(ctx, fasthttp.StatusCreated, struct {
			FID      string `json:"fid"`
			FileName string `json:"fileName"`
			FileURL  string `json:"fileUrl"`
			Size     int64  `json:"size"`
			ETag     string `json:"eTag"`
		}{a.fid().String(), stored.Name, fileURL, stored.Size, stored.ETag})
		return nil
	}
	var room [512]byte
	b := append(room[:0], `{"fid":"`...)
	b = a.fid().AppendText(b)
	b = httpx.AppendString(append(b, `","fileName":`...), stored.Name)
	b = httpx.AppendString(append(b, `,"fileUrl":`...), fileURL)
	b = strconv.AppendInt(append(b, `,"size":`...), stored.Size, 10)
	b = httpx.AppendString(append(b, `,"eTag":`...), stored.ETag)
	httpx.RawJSON(ctx, fasthttp.StatusCreated, append(b, '}'))
	return nil
}

// publicPath returns host:port/fid for clients.
func publicPath(target *topology.Target, a *assignment) string {
	b := append(make([]byte, 0, 64), target.Locations[0].PublicURL...)
	return view(a.fid().AppendText(append(b, '/')))
}
