package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"weed/internal/blob"
	"weed/internal/httprange"
	"weed/internal/httpx"
	"weed/internal/imaging"
)

const (
	// imageBytes bounds the memory of all pictures that are worked on, and so the largest that is.
	imageBytes = 256 << 20
	// maxImageBytes is the length up to which content is looked at as a picture.
	maxImageBytes = 64 << 20
	maxImagePixel = 1<<31 - 1
	// imageGarbage is from how many bytes on the memory of a picture is free before the next one takes its place.
	imageGarbage = 16 << 20
	// imageQueue is how many requests may wait for others that work on pictures, each up to imageWait.
	imageQueue = 64
	imageWait  = 3 * time.Second
	// imageTime is how long the decoder may read on: a small file can make it go over a picture without end.
	imageTime = 10 * time.Second
	// resizeRevision is part of the entity tags of resized pictures. It changes with the bytes that are made.
	resizeRevision = 1
)

var (
	errImageBusy  = errors.New("too many pictures are being resized: try again in a moment")
	errImageLarge = errors.New("the picture is too large to be resized: ask for it without width and height")
	errImageTime  = errors.New("the picture takes too long to decode: ask for it without width and height")
)

// imageWork bounds the work on pictures that goes on at a time.
type imageWork struct {
	slots   *semaphore.Weighted // one for each processor
	bytes   *semaphore.Weighted
	waiting atomic.Int32
}

func newImageWork() *imageWork {
	return &imageWork{
		slots: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		bytes: semaphore.NewWeighted(imageBytes),
	}
}

// carryOut makes of a picture what the plan says. The result stays claimed until release is called.
func (w *imageWork) carryOut(plan imaging.Plan, source io.Reader) (data []byte, release func(), err error) {
	cost := plan.CostBytes()
	if cost > imageBytes {
		return nil, nil, errImageLarge
	}
	if err := w.acquire(cost); err != nil {
		return nil, nil, err
	}
	defer w.slots.Release(1)
	late := &lateReader{r: source, by: time.Now().Add(imageTime)}
	if data, err = plan.Make(late); err != nil {
		if cost >= imageGarbage {
			runtime.GC()
		}
		w.bytes.Release(cost)
		if late.late {
			err = errImageTime
		}
		return nil, nil, err
	}
	kept := min(int64(cap(data)), cost)
	if cost-kept >= imageGarbage {
		runtime.GC() // else the next picture finds its room taken by what is left of this one
	}
	w.bytes.Release(cost - kept)
	return data, func() { w.bytes.Release(kept) }, nil
}

// acquire waits for a slot and for memory. Those who hold a slot wait only for memory, and those who hold
// memory end.
func (w *imageWork) acquire(cost int64) error {
	if w.waiting.Add(1) > imageQueue {
		w.waiting.Add(-1)
		return errImageBusy
	}
	defer w.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), imageWait)
	defer cancel()
	if w.slots.Acquire(ctx, 1) != nil {
		return errImageBusy
	}
	if w.bytes.Acquire(ctx, cost) != nil {
		w.slots.Release(1)
		return errImageBusy
	}
	return nil
}

// lateReader fails when the time is over.
type lateReader struct {
	r    io.Reader
	by   time.Time
	late bool
}

func (l *lateReader) Read(b []byte) (int, error) {
	if time.Now().After(l.by) {
		l.late = true
		return 0, errImageTime
	}
	return l.r.Read(b)
}

// sendResized answers a GET that wants a picture smaller than it is. It returns false when there is nothing
// to do: no such parameters, no picture, or one that is small enough.
func (s *Server) sendResized(ctx *fasthttp.RequestCtx, p *blob.Path, c *content, r *reader) bool {
	args := ctx.QueryArgs()
	if !args.Has("width") && !args.Has("height") && !args.Has("mode") {
		return false
	}
	info, err := c.inspect()
	if err != nil {
		return false
	}
	request, err := resizeRequest(args)
	if err != nil {
		s.fail(ctx, err)
		return true
	}
	plan, ok := info.Plan(request)
	if !ok {
		return false
	}
	n := *c.needle
	n.Gzipped, n.Mime = false, []byte(info.Format.Mime())
	resized := &content{needle: &n, variant: variantOf(plan, request)}
	if conditions, any := conditionsOf(&ctx.Request.Header); any {
		r.text = resized.appendTag(r.text[:0])
		switch httprange.Evaluate(string(ctx.Method()), conditions, string(r.text), shownTime(n.LastModified)) {
		case httprange.NotModified, httprange.PreconditionFailed:
			s.send(ctx, p, resized, r)
			return true
		}
	}
	source, err := c.plain()
	if err != nil {
		s.fail(ctx, err)
		return true
	}
	data, release, err := s.images.carryOut(plan, source)
	_ = source.Close() // it was only read
	if errors.Is(err, imaging.ErrNotPicture) {
		return false
	}
	if err != nil {
		s.fail(ctx, err)
		return true
	}
	n.Data, resized.size = data, int64(len(data))
	resized.held = &heldData{release: release}
	s.send(ctx, p, resized, r)
	if !resized.held.passed {
		release()
	}
	return true
}

// inspect reads the content's header as that of a picture.
func (c *content) inspect() (imaging.Info, error) {
	if c.size > maxImageBytes {
		return imaging.Info{}, imaging.ErrNotPicture
	}
	source, err := c.plain()
	if err != nil {
		return imaging.Info{}, err
	}
	defer func() { _ = source.Close() }() // it was only read
	return imaging.Inspect(source)
}

// plain streams the whole of the uncompressed content. c stays as it is.
func (c *content) plain() (io.ReadCloser, error) {
	d := *c
	if d.needle.Gzipped {
		if err := d.inflate(); err != nil {
			return nil, err
		}
	}
	if d.open == nil && d.blob == nil {
		return io.NopCloser(bytes.NewReader(d.needle.Data)), nil
	}
	return d.limited(0, d.size)
}

// resizeRequest reads width, height and mode.
func resizeRequest(args *fasthttp.Args) (q imaging.Request, err error) {
	for _, side := range []struct {
		name  string
		value *int
	}{{"width", &q.Width}, {"height", &q.Height}} {
		text := args.Peek(side.name)
		if len(text) == 0 {
			continue
		}
		v, err := strconv.ParseUint(string(text), 10, 31)
		if err != nil {
			return q, fmt.Errorf("%w %s %q: give a number of pixels up to %d", errParameter, side.name, text, maxImagePixel)
		}
		*side.value = int(v)
	}
	switch mode := args.Peek("mode"); string(mode) {
	case "", "fit":
	case "fill":
		q.Fill = true
	default:
		return q, fmt.Errorf("%w mode %q: it is fit or fill", errParameter, mode)
	}
	return q, nil
}

// variantOf names what a plan makes of a picture, for its entity tag.
func variantOf(plan imaging.Plan, q imaging.Request) string {
	width, height := plan.Size()
	mode := "fit"
	if q.Fill {
		mode = "fill"
	}
	return fmt.Sprintf("-%dx%d-%s-%d", width, height, mode, resizeRevision)
}

// heldData is claimed memory that an answer holds until it has been sent.
type heldData struct {
	release func()
	passed  bool // release belongs to the answer's body
}

// body makes data the answer's body, which releases it.
func (h *heldData) body(ctx *fasthttp.RequestCtx, data []byte) {
	h.passed = true
	ctx.Response.SetBodyStream(&heldReader{Reader: bytes.NewReader(data), release: h.release}, len(data))
}

type heldReader struct {
	io.Reader
	release func() // nil after Close
}

func (h *heldReader) Close() error {
	if h.release != nil {
		h.release()
		h.release = nil
	}
	return nil
}

// shownTime is the Last-Modified that is told of a time: never one that lies ahead.
func shownTime(modified int64) int64 {
	if modified >= time.Now().Unix()-1 {
		return min(modified, httpx.Date())
	}
	return modified
}

// fixOrientation turns a JPEG that is being stored as its EXIF data say. What a client vouches for with
// Content-MD5, or has compressed, is stored as it is; so is what can't be decoded or is too large, and what has
// more behind the picture: it may be a film, or the first piece of a larger file.
func (s *Server) fixOrientation(w *writer) error {
	n := &w.needle
	if len(n.Data) > maxImageBytes || !bytes.HasSuffix(n.Data, []byte("\xff\xd9")) {
		return nil
	}
	info, err := imaging.Inspect(bytes.NewReader(n.Data))
	if err != nil || info.Format != imaging.JPEG || info.Orientation == 1 {
		return nil //nolint:nilerr // it is no picture
	}
	source := bytes.NewReader(n.Data)
	data, release, err := s.images.carryOut(info.Upright(), source)
	if errors.Is(err, errImageBusy) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // it is stored as it came
	}
	if int64(len(data)) > s.cfg.FileSizeLimitBytes || source.Len() > 0 {
		release()
		return nil
	}
	n.Data, w.upright = data, release
	return nil
}
