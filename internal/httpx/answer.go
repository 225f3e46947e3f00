package httpx

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
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
	list := make([]string, 0, 8) // of that length, so that it need not be on the heap
	for _, m := range methods {
		list = append(list, m)
		if m == fasthttp.MethodGet {
			list = append(list, fasthttp.MethodHead)
		}
	}
	return AllowOnly(ctx, list...)
}

// AllowOnly is Allow without the HEAD that comes with GET: for a path whose GET changes something, as HEAD must
// not.
func AllowOnly(ctx *fasthttp.RequestCtx, methods ...string) bool {
	method := string(ctx.Method())
	if slices.Contains(methods, method) {
		return true
	}
	allowed := strings.Join(methods, ", ") + ", " + fasthttp.MethodOptions
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allowed)
	if method == fasthttp.MethodOptions {
		ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
		return false
	}
	Error(ctx, fasthttp.StatusMethodNotAllowed, "method "+printable(ctx.Method())+" is not allowed here: use "+allowed)
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

// Std serves a cold page (metrics, profiles) with a handler of the standard library.
func Std(h http.Handler) fasthttp.RequestHandler { return fasthttpadaptor.NewFastHTTPHandler(h) }
