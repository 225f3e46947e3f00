package client

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// startFast serves a fixed kilobyte with fasthttp, which costs less than the client that is measured.
func startFast(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1024)
	s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		if ctx.IsPut() {
			ctx.SetStatusCode(201)
			ctx.SetBodyString(`{"name":"","size":1024,"eTag":"5b9a4a9c"}`)
			return
		}
		ctx.Response.Header.Set("ETag", `"5b9a4a9c"`)
		ctx.SetBody(body)
	}}
	go s.Serve(l)
	b.Cleanup(func() { s.Shutdown() })
	return l.Addr().String()
}

// cpu returns the CPU time, user and system, of the process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchClient(b *testing.B) (*Client, string) {
	addr := startFast(b)
	c, err := New(Config{LookupTTL: 1 << 60})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	c.lookups.entries[3] = lookupEntry{locs: []Location{{URL: addr}}, at: c.clock.Now()}
	b.SetParallelism(32)
	b.ReportAllocs()
	before := cpu()
	b.Cleanup(func() { b.ReportMetric(float64(cpu()-before)/1e3/float64(b.N), "cpu-µs/op") })
	b.ResetTimer()
	return c, addr
}

// BenchmarkGet is client and server together.
func BenchmarkGet(b *testing.B) {
	c, _ := benchClient(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.RunParallel(func(pb *testing.PB) {
		var buf []byte
		for pb.Next() {
			var err error
			if buf, _, err = c.Get(ctx, fid1, buf); err != nil || len(buf) != 1024 {
				b.Error(len(buf), err)
			}
		}
	})
}

// BenchmarkUploadTo is client and server together.
func BenchmarkUploadTo(b *testing.B) {
	c, addr := benchClient(b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	blob := &Blob{Data: make([]byte, 1024)}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.UploadTo(ctx, addr, fid1, blob); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkForward is client and server together.
func BenchmarkForward(b *testing.B) {
	c, addr := benchClient(b)
	r := &Request{Method: "PUT", Host: addr, Path: "/" + fid1, Body: make([]byte, 1024)}
	b.RunParallel(func(pb *testing.PB) {
		var dst []byte
		for pb.Next() {
			var err error
			if _, dst, err = c.Forward(context.Background(), r, dst); err != nil {
				b.Error(err)
			}
		}
	})
}
