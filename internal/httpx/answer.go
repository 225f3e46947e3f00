package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"
)

const mimeJSON = "application/json"

// buffers serve JSON; those that grew beyond maxPooledJSON are dropped.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxPooledJSON = 64 << 10

// JSON answers with status and v as JSON, indented by two spaces when the query says pretty=y.
// It replaces what the response held as a body. A value that can't be encoded is answered with 500.
func JSON(ctx *fasthttp.RequestCtx, status int, v any) {
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if Pretty(ctx) {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(v); err != nil {
		ctx.Logger().Printf("encode the answer: %v", err)
		Error(ctx, fasthttp.StatusInternalServerError, "the answer can't be encoded: see the server's log")
	} else {
		body := buf.Bytes()
		RawJSON(ctx, status, body[:len(body)-1]) // Encode ends with a newline
	}
	if buf.Cap() <= maxPooledJSON {
		buffers.Put(buf)
	}
}

// RawJSON answers with status and body, which is JSON already; body is copied. For hot answers that the
// caller appends by hand, and only where Pretty(ctx) is false.
func RawJSON(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(mimeJSON)
	ctx.Response.SetBody(body)
}

// Pretty tells whether the query asks for indented JSON.
func Pretty(ctx *fasthttp.RequestCtx) bool {
	if len(ctx.URI().QueryString()) == 0 {
		return false
	}
	return string(ctx.QueryArgs().Peek("pretty")) == "y"
}

// Error answers with status and {"error":"text"}. Headers that the handler has set stay.
func Error(ctx *fasthttp.RequestCtx, status int, text string) {
	b := make([]byte, 0, len(text)+32)
	if Pretty(ctx) {
		b = append(b, "{\n  \"error\": "...)
		b = append(AppendString(b, text), "\n}"...)
	} else {
		b = append(b, `{"error":`...)
		b = append(AppendString(b, text), '}')
	}
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(mimeJSON)
	ctx.Response.SetBodyRaw(b)
}

// AppendString appends text as a JSON string, without a detour over reflection where nothing needs an escape.
func AppendString(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(text) // a string always encodes
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// Allow reports whether the request's method is one of methods; GET includes HEAD. Otherwise it answers:
// OPTIONS with 204, anything else with 405, both with the Allow header.
func Allow(ctx *fasthttp.RequestCtx, methods ...string) bool {
	method := ctx.Method()
	for _, m := range methods {
		if string(method) == m || (m == fasthttp.MethodGet && string(method) == fasthttp.MethodHead) {
			return true
		}
	}
	list := make([]string, 0, len(methods)+2)
	for _, m := range methods {
		list = append(list, m)
		if m == fasthttp.MethodGet {
			list = append(list, fasthttp.MethodHead)
		}
	}
	allowed := strings.Join(append(list, fasthttp.MethodOptions), ", ")
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allowed)
	if string(method) == fasthttp.MethodOptions {
		ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
		return false
	}
	Error(ctx, fasthttp.StatusMethodNotAllowed, "method "+printable(method)+" is not allowed here: use "+allowed)
	return false
}

// printable is b cut to a length that fits an error text.
func printable(b []byte) string {
	const most = 32
	if len(b) > most {
		b = b[:most]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// An answer is one row of the error table.
type answer struct {
	err        error
	status     int
	text       string
	retryAfter int // seconds, 0 = no header
}

// errorTable maps the errors of this package to answers.
var errorTable = []answer{
	{ErrTooLarge, fasthttp.StatusRequestEntityTooLarge, "the body is larger than this server takes: send less, or raise its limit", 0},
	{ErrBusy, fasthttp.StatusTooManyRequests, "too many uploads are in flight: try again in a moment", 1},
	{ErrBodyTimeout, fasthttp.StatusRequestTimeout, "the body did not arrive in time: send it again over a faster connection", 0},
	{ErrBodyBroken, fasthttp.StatusBadRequest, "the body ended early or is malformed: send it again", 0},
}

// StatusOf returns the HTTP status and text for an error of this package, wrapped or not; ok is false for others.
func StatusOf(err error) (status int, text string, ok bool) {
	if a := lookup(err); a != nil {
		return a.status, a.text, true
	}
	return 0, "", false
}

// Fail answers with the error table's row for err, Retry-After included, and reports whether there is one.
// Without a row it leaves the response alone.
func Fail(ctx *fasthttp.RequestCtx, err error) bool {
	a := lookup(err)
	if a == nil {
		return false
	}
	if a.retryAfter > 0 {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(a.retryAfter))
	}
	Error(ctx, a.status, a.text)
	return true
}

func lookup(err error) *answer {
	for i := range errorTable {
		if errors.Is(err, errorTable[i].err) {
			return &errorTable[i]
		}
	}
	return nil
}

// Std serves a cold page (metrics, profiles) with a handler of the standard library.
func Std(h http.Handler) fasthttp.RequestHandler { return fasthttpadaptor.NewFastHTTPHandler(h) }
