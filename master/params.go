package master

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/topology"
)

// view gives bytes of a request the type string without a copy. The result lives as long as the request:
// whoever keeps it clones it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// wish is what a request wants of the volume for its blobs. The strings are views of the request.
type wish struct {
	count uint64
	key   topology.LayoutKey
	pref  topology.Preference
}

// clone makes the wish outlive its request.
func (w wish) clone() wish {
	for _, s := range []*string{&w.key.Collection, &w.pref.DataCenter, &w.pref.Rack, &w.pref.DataNode} {
		*s = strings.Clone(*s)
	}
	return w
}

// readWish reads a wish from the query, and from the form of a POST unless its body is the blob. The
// collection is not checked.
func (m *Master) readWish(ctx *fasthttp.RequestCtx, bodyIsBlob bool) (wish, error) {
	w := wish{count: 1, key: topology.LayoutKey{Placement: m.cfg.DefaultReplication}}
	if !bodyIsBlob && ctx.IsPost() {
		if err := m.readForm(ctx); err != nil {
			return w, err
		}
		if err := w.read(ctx.PostArgs()); err != nil {
			return w, err
		}
	}
	if len(ctx.URI().QueryString()) > 0 {
		if err := w.read(ctx.QueryArgs()); err != nil {
			return w, err
		}
	}
	return w, nil
}

// readForm makes the fields of a form known to ctx.PostArgs.
func (m *Master) readForm(ctx *fasthttp.RequestCtx) error {
	return httpx.ReadForm(ctx, m.beats, formLimit)
}

// read overwrites what args name.
func (w *wish) read(args *fasthttp.Args) (err error) {
	if args.Len() == 0 {
		return nil
	}
	if v := args.Peek("count"); len(v) > 0 {
		if w.count, err = parseCount(view(v)); err != nil {
			return err
		}
	}
	if v := args.Peek("replication"); len(v) > 0 {
		if w.key.Placement, err = blob.ParsePlacement(view(v)); err != nil {
			return err
		}
	}
	if v := args.Peek("ttl"); len(v) > 0 {
		if w.key.TTL, err = blob.ParseTTL(view(v)); err != nil {
			return err
		}
	}
	set(&w.key.Collection, args.Peek("collection"))
	set(&w.pref.DataCenter, args.Peek("dataCenter"))
	set(&w.pref.Rack, args.Peek("rack"))
	set(&w.pref.DataNode, args.Peek("dataNode"))
	return nil
}

func set(field *string, value []byte) {
	if len(value) > 0 {
		*field = view(value)
	}
}

// parseCount reads a number of fids or volumes, 1 to maxCount.
func parseCount(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n == 0 {
		return 0, fmt.Errorf("%w count %.32q: give a number from 1 to %d", errMalformed, s, maxCount)
	}
	if n > maxCount {
		return 0, fmt.Errorf("%w count: %.32s is more than the %d that one request may ask for", errMalformed, s, maxCount)
	}
	return n, nil
}

// param returns a parameter of the query, or else of the form, which must have been read. "" when absent.
func param(ctx *fasthttp.RequestCtx, name string) string {
	if v := ctx.QueryArgs().Peek(name); len(v) > 0 {
		return string(v)
	}
	return string(ctx.PostArgs().Peek(name))
}

// params returns all values of a parameter, those of the query first.
func params(ctx *fasthttp.RequestCtx, name string) []string {
	var values []string
	for _, args := range []*fasthttp.Args{ctx.QueryArgs(), ctx.PostArgs()} {
		for _, v := range args.PeekMulti(name) {
			values = append(values, string(v))
		}
	}
	return values
}
