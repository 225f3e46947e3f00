package upload

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"mime/multipart"
	"strings"
	"testing"
)

// reference reads a form with mime/multipart and nothing else; parts is the number of parts up to the end.
func reference(boundary string, body []byte) (header, data string, parts int, err error) {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	named := false
	for {
		p, err := r.NextPart()
		if err == io.EOF {
			return header, data, parts, nil
		}
		if err != nil {
			return "", "", parts, err
		}
		fileName := len(fileNameParam([]byte(p.Header.Get("Content-Disposition")))) > 0
		if parts == 0 || fileName && !named {
			b, err := io.ReadAll(p)
			if err != nil {
				return "", "", parts, err
			}
			header, data, named = p.Header.Get("Content-Disposition")+"\n"+p.Header.Get("Content-Type"), string(b), fileName
		}
		parts++
	}
}

// FuzzParse holds three readers of one form against each other: the own parser, the fallback, and
// mime/multipart as its documentation uses it.
func FuzzParse(f *testing.F) {
	lf := strings.ReplaceAll(simple, "\r\n", "\n")
	for _, body := range []string{
		simple, lf, "preamble\r\n" + simple, simple + "epilogue", strings.TrimSuffix(simple, "\r\n"),
		simple[:len(simple)-4] + "\r\n\r\nsecond\r\n--xYzZY--", "--xYzZY--", "--xYzZY\r\n\r\n--xYzZY--",
		strings.Replace(simple, "hello\r\n", "\r\n--xYzZ\r\n--xYzZYx\r\n--xYzZY-", 1),
		strings.Replace(simple, `"hello.txt"`, `"C:\\a\"b"; filename*=UTF-8''%41`, 1),
		strings.Replace(simple, "text/plain", "text/plain\r\nContent-Transfer-Encoding: quoted-printable", 1),
	} {
		f.Add("xYzZY", []byte(body))
	}
	f.Add("a:b", []byte("--a:b\r\n--a:b--"))
	f.Add("-", []byte("---\r\n\r\nx\r\n-----\r\n"))
	f.Fuzz(func(t *testing.T, boundary string, body []byte) {
		if boundary == "" || !isFieldValue([]byte(boundary)) {
			t.Skip("no header carries such a boundary")
		}
		before := string(body)
		fast, ok := parseCommon([]byte(boundary), body)
		slow, err := parseAny([]byte(boundary), body)
		if string(body) != before {
			t.Fatal("the body was written to")
		}
		if ok && err != nil {
			t.Fatalf("the own parser reads %+v, mime/multipart says %v", fast, err)
		}
		if ok && !samePart(fast, slow) {
			t.Fatalf("own parser %+v, mime/multipart %+v", fast, slow)
		}

		header, data, parts, referenceErr := reference(boundary, body)
		switch {
		case err == nil:
			disposition, mime, _ := strings.Cut(header, "\n")
			if referenceErr != nil || data != string(slow.Data) ||
				string(slow.Name) != string(baseName(fileNameParam([]byte(disposition)))) ||
				string(slow.Mime) != string(informativeType([]byte(mime))) {
				t.Fatalf("got %+v, mime/multipart %q %q %v", slow, header, data, referenceErr)
			}
		case referenceErr == nil:
			// What mime/multipart takes for an end, a body cut short in a header, is refused here.
			if !errors.Is(err, ErrTruncated) && parts <= maxParts && (parts > 0 || !errors.Is(err, ErrNoPart)) {
				t.Fatalf("got %v, mime/multipart reads %d parts", err, parts)
			}
		}
		if len(slow.Name) > maxField || len(slow.Mime) > maxField || !isFieldValue(slow.Name) || !isFieldValue(slow.Mime) {
			t.Fatalf("name %q or mime %q does not fit a needle or a header", slow.Name, slow.Mime)
		}
	})
}

func samePart(a, b Part) bool {
	return bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Mime, b.Mime) && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.MD5, b.MD5) && a.Gzipped == b.Gzipped && a.Cut == b.Cut
}

// FuzzFileName holds the short way of reading a file name against mime.ParseMediaType.
func FuzzFileName(f *testing.F) {
	for _, v := range []string{
		`form-data; name="file"; filename="a.txt"`, `form-data; filename="a"; name="b"`, `form-data; filename="a\"b"`,
		`form-data; filename="a"; filename="a"`, `form-data; name=""; filename=""`, `form-data`, `form-data; `,
	} {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		if !isFieldValue(v) {
			t.Skip("not a header value")
		}
		if got, ok := plainFileName(v); ok && string(got) != string(fileNameParam(v)) {
			t.Fatalf("%q: got %q, mime says %q", v, got, fileNameParam(v))
		}
	})
}

// FuzzGunzip holds Gunzip against compress/gzip, its limit included.
func FuzzGunzip(f *testing.F) {
	two := append(zipped([]byte("one")), zipped([]byte("two"))...)
	f.Add(two, 6)
	f.Add(two, 5)
	f.Add(two[:len(two)-1], 100)
	f.Add(append(two, 0), 100)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, src []byte, limit int) {
		limit &= 1<<20 - 1
		prefix := []byte("kept")
		got, err := Gunzip(prefix, src, limit)
		if string(got[:4]) != "kept" || len(got)-4 > limit || err != nil && len(got) != 4 {
			t.Fatalf("%d bytes within a limit of %d, %v", len(got)-4, limit, err)
		}
		var want []byte
		r, wantErr := gzip.NewReader(bytes.NewReader(src))
		if wantErr == nil {
			want, wantErr = io.ReadAll(io.LimitReader(r, int64(limit)+1))
		}
		switch {
		case wantErr != nil:
			if err == nil {
				t.Fatalf("accepted, compress/gzip says %v", wantErr)
			}
		case len(want) > limit:
			// What is both too long and damaged further on may be called either.
			if err == nil {
				t.Fatal("accepted content beyond the limit")
			}
		case err != nil || !bytes.Equal(got[4:], want):
			t.Fatalf("got %q %v, want %q", got[4:], err, want)
		}
	})
}

func zipped(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(data) // a bytes.Buffer does not fail
	_ = w.Close()
	return buf.Bytes()
}
