package volume

import (
	"fmt"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// request prepares a context for the handler, with the fields that common clients send.
func request(method, uri, body string, header ...string) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	h := &ctx.Request.Header
	h.SetMethod(method)
	h.SetRequestURI(uri)
	h.SetHost("127.0.0.1:8080")
	h.SetUserAgent("bench")
	h.Set("Accept", "*/*")
	h.Set("Accept-Encoding", "gzip, deflate")
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	ctx.Request.SetBodyString(body)
	ctx.Response.Header.SetNoDefaultContentType(true)
	return ctx
}

func benchmark(b *testing.B, s *Server, ctx *fasthttp.RequestCtx, want int) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		ctx.Response.Header.SetNoDefaultContentType(true)
		s.handle(ctx)
		if ctx.Response.StatusCode() != want {
			b.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
	}
}

func BenchmarkGet1K(b *testing.B) {
	for _, kind := range []struct {
		name   string
		header []string
	}{
		{"untyped", nil},
		{"typed", []string{"Content-Type", "image/jpeg", "Content-Disposition", `inline; filename="picture.jpg"`}},
		{"pairs", []string{"Content-Type", "image/jpeg", "Seaweed-Owner", "me"}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			s := prepared(b, Config{}, time.Now)
			put := request("PUT", fid, noise(1024, 1), kind.header...)
			if s.handle(put); put.Response.StatusCode() != 201 {
				b.Fatal(string(put.Response.Body()))
			}
			benchmark(b, s, request("GET", fid, ""), 200)
		})
	}
}

func BenchmarkPut1K(b *testing.B) {
	body, mime := form("picture.jpg", noise(1024, 1), "Content-Type", "image/jpeg")
	for _, kind := range []struct{ name, body, mime string }{{"form", body, mime}, {"raw", noise(1024, 1), ""}} {
		b.Run(kind.name, func(b *testing.B) {
			s := prepared(b, Config{}, time.Now)
			ctx := request("POST", fid, kind.body, "Content-Type", kind.mime)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				ctx.Request.SetRequestURI(fmt.Sprintf("/3,%x637037d6", 1<<20+i)) // costs two allocations
				ctx.Response.Reset()
				ctx.Response.Header.SetNoDefaultContentType(true)
				if s.handle(ctx); ctx.Response.StatusCode() != 201 {
					b.Fatal(string(ctx.Response.Body()))
				}
			}
		})
	}
}
