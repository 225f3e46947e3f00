package upload

import (
	"mime"
	"slices"
	"strings"
	"testing"
)

func TestTypeTables(t *testing.T) {
	for i, e := range types {
		if i > 0 && types[i-1].ext >= e.ext {
			t.Errorf("%q is out of order", e.ext)
		}
		if len(e.ext) > maxExt || strings.ToLower(e.ext) != e.ext {
			t.Errorf("%q can't be found", e.ext)
		}
		media, params, err := mime.ParseMediaType(e.mime)
		if err != nil || string(informativeType([]byte(e.mime))) != e.mime {
			t.Errorf("%q: %q is no useful type: %v", e.ext, e.mime, err)
		}
		if text := strings.HasPrefix(media, "text/"); text != (params["charset"] == "utf-8") {
			t.Errorf("%q: %q", e.ext, e.mime)
		}
	}
	if !slices.IsSorted(plainFormats) {
		t.Error("plainFormats is not sorted")
	}
}

func TestTypeByName(t *testing.T) {
	for name, want := range map[string]string{
		"a.jpg": "image/jpeg", "A.JPeG": "image/jpeg", "a.tar.gz": "application/gzip", ".html": "text/html; charset=utf-8",
		"a.webmanifest": "application/manifest+json", "7z": "", "a.": "", "": "", "a.b/c": "", "a.unknown": "",
		"a.jp": "", "a.jpgg": "", "a." + strings.Repeat("x", 300): "",
	} {
		if got := TypeByName(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
		if got := TypeByName([]byte(name)); got != want {
			t.Errorf("%q as bytes: got %q, want %q", name, got, want)
		}
	}
}

func TestCompressible(t *testing.T) {
	for _, c := range []struct {
		mime, ext string
		want      bool
	}{
		{"text/plain", "", true},
		{"Text/HTML; charset=utf-8", ".html", true},
		{"application/json", "", true},
		{"application/json ; charset=utf-8", "", true},
		{"application/vnd.api+json", "", true},
		{"application/rss+xml", "", true},
		{"application/x-javascript", "", true},
		{"application/yaml", "", true},
		{"application/wasm", "", true},
		{"image/svg+xml", ".svg", true},
		{"image/bmp", "", true},
		{"image/png", "", false},
		{"image/jpeg", ".txt", false},
		{"video/mp4", "", false},
		{"audio/mpeg", "", false},
		{"application/zip", "", false},
		{"application/gzip", "", false},
		{"application/pdf", "", false},
		{"application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx", false},
		{"application/x-unknown", "", false},
		{"application/x-unknown", ".txt", false},
		{"text/plain", ".gz", false}, // what a client guesses, against what the name says
		{"text/plain", "jpg", false},
		{"text/plain", ".unknown", true},
		{"", ".txt", true},
		{"", "JSON", true},
		{"", ".mp4", false},
		{"", ".unknown", false},
		{"", "", false},
		{"application/octet-stream", ".css", true},
		{"application/octet-stream", "", false},
		{strings.Repeat("x", 300) + "json", "", false},
	} {
		if got := Compressible(c.mime, c.ext); got != c.want {
			t.Errorf("%q with extension %q: %v", c.mime, c.ext, got)
		}
		if got := Compressible([]byte(c.mime), c.ext); got != c.want {
			t.Errorf("%q as bytes with extension %q: %v", c.mime, c.ext, got)
		}
	}
}

func TestExt(t *testing.T) {
	for name, want := range map[string]string{"a.b": ".b", "a.b.c": ".c", "a": "", "": "", "a.": ".", "d.x/a": ""} {
		if got := Ext(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestSniff(t *testing.T) {
	if got := Sniff([]byte("\x89PNG\x0d\x0a\x1a\x0a")); got != "image/png" {
		t.Error(got)
	}
	if got := Sniff(nil); got != "text/plain; charset=utf-8" {
		t.Error(got)
	}
}

func BenchmarkTypeByName(b *testing.B) {
	name := []byte("photo.JPG")
	b.ReportAllocs()
	for b.Loop() {
		if TypeByName(name) == "" {
			b.Fatal("unknown")
		}
	}
}

func BenchmarkCompressible(b *testing.B) {
	mime, ext := []byte("application/x-seven"), []byte(".bin")
	b.ReportAllocs()
	for b.Loop() {
		if Compressible(mime, ext) {
			b.Fatal("compressible")
		}
	}
}
