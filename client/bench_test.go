package client

import (
	"bufio"
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startFixed answers every request with the same bytes, at less cost than the client that is measured.
func startFixed(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	get := []byte("HTTP/1.1 200 OK\r\nETag: \"5b9a4a9c\"\r\nContent-Length: 1024\r\n\r\n" + strings.Repeat("x", 1024))
	put := []byte("HTTP/1.1 201 Created\r\nContent-Length: 41\r\n\r\n" + `{"name":"","size":1024,"eTag":"5b9a4a9c"}`)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go answerFixed(nc, get, put)
		}
	}()
	b.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// answerFixed tells PUT from GET by the first byte; a PUT has a kilobyte of body.
func answerFixed(nc net.Conn, get, put []byte) {
	defer nc.Close()
	br := bufio.NewReader(nc)
	for {
		first, err := br.Peek(1)
		if err != nil {
			return
		}
		answer, body := get, 0
		if first[0] == 'P' {
			answer, body = put, 1024
		}
		for line := []byte("head"); len(line) > 2; {
			if line, err = br.ReadSlice('\n'); err != nil {
				return
			}
		}
		br.Discard(body)
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
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
	addr := startFixed(b)
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
