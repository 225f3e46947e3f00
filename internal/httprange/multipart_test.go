package httprange

import (
	"bytes"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"testing"
)

// The body is one that mime/multipart reads, and exactly as long as announced.
func TestMultipart(t *testing.T) {
	content := []byte("0123456789abcdefghijklmnopqrstuvwxyz\r\n--")
	size := int64(len(content))
	for _, contentType := range []string{"", "text/plain; charset=utf-8"} {
		for _, ranges := range [][]Range{
			{{0, 1}, {10, 5}},
			{{36, 4}, {0, 1}, {5, 20}},
			{{0, size}},
		} {
			m := &Multipart{Boundary: NewBoundary(), ContentType: contentType, Size: size, Ranges: ranges}
			var body []byte
			for i, r := range m.Ranges {
				body = m.AppendPartHeader(body, i)
				body = append(body, content[r.Start:r.end()]...)
			}
			body = m.AppendEnd(body)
			if int64(len(body)) != m.Length() {
				t.Errorf("%v: %d bytes, announced %d", ranges, len(body), m.Length())
			}
			media, params, err := mime.ParseMediaType(string(m.AppendContentType(nil)))
			if err != nil || media != "multipart/byteranges" {
				t.Fatal(media, err)
			}
			reader := multipart.NewReader(bytes.NewReader(body), params["boundary"])
			for _, r := range ranges {
				p, err := reader.NextRawPart()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(p)
				if err != nil || !bytes.Equal(got, content[r.Start:r.end()]) || p.Header.Get("Content-Type") != contentType ||
					p.Header.Get("Content-Range") != string(AppendContentRange(nil, r, size)) {
					t.Errorf("%v: %q %v %v", r, got, p.Header, err)
				}
			}
			if _, err := reader.NextRawPart(); err != io.EOF {
				t.Errorf("behind the last part: %v", err)
			}
		}
	}
}

func TestMultipartAllocates(t *testing.T) {
	m := &Multipart{Boundary: NewBoundary(), ContentType: "image/png", Size: math.MaxInt64, Ranges: []Range{{0, 1}, {math.MaxInt64 - 5, 4}}}
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() {
		m.Length()
		m.AppendPartHeader(buf, 1)
		m.AppendEnd(buf)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewBoundary(t *testing.T) {
	a, b := NewBoundary(), NewBoundary()
	if len(a) != 32 || len(b) != 32 || a == b {
		t.Errorf("%q, %q", a, b)
	}
}
