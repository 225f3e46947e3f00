package upload

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// logLines is text as servers write it, n bytes of it, which gzip brings down to about a sixth.
func logLines(n int) []byte {
	var b []byte
	r := rand.New(rand.NewPCG(1, 2))
	for len(b) < n {
		b = fmt.Appendf(b, "2024-05-%02d 12:%02d:%02d INFO request=%x path=/3,01%08x status=200\n",
			r.IntN(28), r.IntN(60), r.IntN(60), r.Uint32(), r.Uint32())
	}
	return b[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

func TestGzipGains(t *testing.T) {
	for _, c := range []struct {
		what string
		src  []byte
		want bool
	}{
		{"nothing", nil, false},
		{"just too short", logLines(minGzip - 1), false},
		{"short and plain", bytes.Repeat([]byte("a"), minGzip), true},
		{"1 KiB of log", logLines(1 << 10), true},
		{"1 MiB of log", logLines(1 << 20), true},
		{"short noise", noise(200), false},
		{"1 MiB of noise", noise(1 << 20), false},
		{"noise behind a plain head", append(logLines(64<<10), noise(1<<20)...), false},
		{"noise with too little to gain", append(noise(1000), bytes.Repeat([]byte("a"), 90)...), false},
		{"noise with just enough to gain", append(noise(1000), bytes.Repeat([]byte("a"), 400)...), true},
		{"base64-like: three quarters", []byte(strings.Map(func(r rune) rune { return 'A' + r%16 }, string(noise(1<<20)))), true},
	} {
		prefix := []byte("kept")
		got, ok := Gzip(prefix, c.src)
		if ok != c.want || string(got[:4]) != "kept" {
			t.Errorf("%s: %v, %d bytes of %d", c.what, ok, len(got), len(c.src))
			continue
		}
		if !ok {
			if len(got) != 4 {
				t.Errorf("%s: refused, but %d bytes were appended", c.what, len(got)-4)
			}
			continue
		}
		if len(got)-4 > len(c.src)*9/10 {
			t.Errorf("%s: %d bytes of %d save less than a tenth", c.what, len(got)-4, len(c.src))
		}
		r, err := gzip.NewReader(bytes.NewReader(got[4:]))
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, c.src) {
			t.Errorf("%s: compress/gzip reads %d bytes of %d, %v", c.what, len(back), len(c.src), err)
		}
	}
}

// More callers than encoders: each gets its own content back, after refusals too.
func TestGzipConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 4 * cap(encoders()) {
		wg.Go(func() {
			for n := range 20 {
				src := append(logLines(1000*(n+1)), byte(i))
				if _, ok := Gzip(nil, noise(100_000)); ok {
					t.Error("noise was compressed")
				}
				z, ok := Gzip(nil, src)
				if !ok {
					t.Error("log lines were refused")
				}
				if back, err := Gunzip(nil, z, len(src)); err != nil || !bytes.Equal(back, src) {
					t.Errorf("got %d bytes back of %d, %v", len(back), len(src), err)
				}
			}
		})
	}
	wg.Wait()
}

func TestGunzip(t *testing.T) {
	src := logLines(100_000)
	z := zipped(src)
	lying := bytes.Clone(z)
	copy(lying[len(lying)-4:], "\xff\xff\xff\x7f")
	small, empty := zipped([]byte("abc")), zipped(nil)
	for _, c := range []struct {
		what  string
		src   []byte
		limit int
		want  string
		err   error
	}{
		{"exactly the limit", z, len(src), string(src), nil},
		{"one byte over the limit", z, len(src) - 1, "", ErrTooLarge},
		{"limit zero", small, 0, "", ErrTooLarge},
		{"negative limit", small, -1, "", ErrTooLarge},
		{"empty content within limit zero", empty, 0, "", nil},
		{"huge limit", small, int(^uint(0) >> 1), "abc", nil},
		{"members", bytes.Join([][]byte{small, empty, small}, nil), 6, "abcabc", nil},
		{"members over the limit", bytes.Join([][]byte{small, empty, small}, nil), 5, "", ErrTooLarge},
		{"bomb", zipped(make([]byte, 50<<20)), 1 << 20, "", ErrTooLarge},
		{"length that lies", lying, len(src), "", ErrNotGzip},
		{"cut short", z[:len(z)-1], len(src), "", ErrNotGzip},
		{"cut in the middle", z[:len(z)/2], len(src), "", ErrNotGzip},
		{"something behind", append(bytes.Clone(z), "more"...), len(src), "", ErrNotGzip},
		{"cut in a second header", append(bytes.Clone(small), "\x1f\x8b\b\x08000000na"...), 10, "", ErrNotGzip},
		{"nothing", nil, 10, "", ErrNotGzip},
		{"not gzip", src, 10, "", ErrNotGzip},
	} {
		prefix := []byte("kept")
		got, err := Gunzip(prefix, c.src, c.limit)
		if !errors.Is(err, c.err) || string(got) != "kept"+c.want {
			t.Errorf("%s: %d bytes, %v", c.what, len(got), err)
		}
		if cap(got) > 2*(len(src)+64) && c.limit <= len(src) {
			t.Errorf("%s: grew to %d bytes", c.what, cap(got))
		}
	}
}

func BenchmarkGzip(b *testing.B) {
	for name, src := range map[string][]byte{
		"log/1KiB": logLines(1 << 10), "log/1MiB": logLines(1 << 20), "noise/1KiB": noise(1 << 10), "noise/1MiB": noise(1 << 20),
	} {
		b.Run(name, func(b *testing.B) {
			dst := make([]byte, 0, len(src))
			b.ReportAllocs()
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				Gzip(dst, src)
			}
		})
	}
}

func BenchmarkGunzip(b *testing.B) {
	for _, n := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			z, _ := Gzip(nil, logLines(n))
			dst := make([]byte, 0, n+1)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				if _, err := Gunzip(dst, z, n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
