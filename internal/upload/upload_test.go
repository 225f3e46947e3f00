package upload

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

const formHeader = "multipart/form-data; boundary=xYzZY"

// form writes CRLF for every | and joins the lines of a body whose boundary is xYzZY.
func form(lines ...string) string {
	return strings.ReplaceAll(strings.Join(lines, "|"), "|", "\r\n")
}

var simple = form("--xYzZY", `Content-Disposition: form-data; name="file"; filename="hello.txt"`,
	"Content-Type: text/plain", "", "hello\r\nworld", "--xYzZY--", "")

func TestParseForm(t *testing.T) {
	named := func(name string) string { return `Content-Disposition: form-data; name="file"; filename=` + name }
	field := `Content-Disposition: form-data; name="comment"`
	for _, c := range []struct {
		what, body string
		name, mime string
		data       string
		common     bool // read without the fallback
	}{
		{"one file", simple, "hello.txt", "text/plain", "hello\r\nworld", true},
		{"no line end behind the final boundary", form("--xYzZY", named(`"a"`), "", "d", "--xYzZY--"), "a", "", "d", true},
		{"epilogue", form("--xYzZY", named(`"a"`), "", "d", "--xYzZY--", "--xYzZY", "bye"), "a", "", "d", true},
		{"preamble", form("hi", "--xYzZY", named(`"a"`), "", "d", "--xYzZY--", ""), "a", "", "d", false},
		{"empty file", form("--xYzZY", named(`"a"`), "", "", "--xYzZY--", ""), "a", "", "", true},
		{"empty file without its line end", form("--xYzZY", named(`"a"`), "", "--xYzZY--", ""), "a", "", "", false},
		{"no header at all", form("--xYzZY", "", "d", "--xYzZY--"), "", "", "d", true},
		{"no file name: the first part", form("--xYzZY", field, "", "1", "--xYzZY", field, "", "2", "--xYzZY--"), "", "", "1", true},
		{"field before the file", form("--xYzZY", field, "", "1", "--xYzZY", named(`"a"`), "", "2", "--xYzZY--"), "a", "", "2", true},
		{"first of two files", form("--xYzZY", named(`"a"`), "", "1", "--xYzZY", named(`"b"`), "", "2", "--xYzZY--"), "a", "", "1", true},
		{"empty file name is none", form("--xYzZY", named(`""`), "", "1", "--xYzZY", named(`"b"`), "", "2", "--xYzZY--"), "b", "", "2", true},
		{"octet-stream says nothing", form("--xYzZY", named(`"a"`), "Content-Type: Application/Octet-Stream", "", "d", "--xYzZY--"), "a", "", "d", true},
		{"field names in any case", form("--xYzZY", "content-DISPOSITION: form-data; name=\"f\"; filename=\"a\"", "CONTENT-type:image/png ", "", "d", "--xYzZY--"), "a", "image/png", "d", true},
		{"unknown fields", form("--xYzZY", "Idempotency-Key: k", named(`"a"`), "Content-Length: 1", "", "d", "--xYzZY--"), "a", "", "d", true},
		{"first of repeated fields", form("--xYzZY", named(`"a"`), "Content-Type: a/b", "Content-Type: c/d", "", "d", "--xYzZY--"), "a", "a/b", "d", true},
		{"folded header", form("--xYzZY", "Content-Disposition: form-data;", " name=f; filename=a", "", "d", "--xYzZY--"), "a", "", "d", false},
		{"binary stays", form("--xYzZY", named(`"a"`), "Content-Transfer-Encoding: binary", "", "=41", "--xYzZY--"), "a", "", "=41", true},
		{"base64 stays", form("--xYzZY", named(`"a"`), "Content-Transfer-Encoding: base64", "", "QQ==", "--xYzZY--"), "a", "", "QQ==", true},
		{"quoted-printable is decoded", form("--xYzZY", named(`"a"`), "Content-Transfer-Encoding: Quoted-Printable", "", "=41=\r\nb", "--xYzZY--"), "a", "", "Ab", false},
		{"bare line feeds", "--xYzZY\n" + named(`"a"`) + "\n\nd\r\n\n--xYzZY--\n", "a", "", "d\r\n", false},
		{"blanks behind the boundary", form("--xYzZY \t", named(`"a"`), "", "d", "--xYzZY-- "), "a", "", "d", false},
		{"dashes in binary data", form("--xYzZY", named(`"a"`), "", "\r\n--\r\n--xYzZ\r\n--xYzZYx\r\n--xYzZY-x\r\n\r\n", "--xYzZY--"), "a", "", "\r\n--\r\n--xYzZ\r\n--xYzZYx\r\n--xYzZY-x\r\n\r\n", true},
		{"boundary within a line", form("--xYzZY", named(`"a"`), "", "x--xYzZY--", "--xYzZY--"), "a", "", "x--xYzZY--", true},
		{"boundary behind a bare line feed", form("--xYzZY", named(`"a"`), "", "x\n--xYzZY--", "--xYzZY--"), "a", "", "x\n--xYzZY--", true},
		{"unquoted name", form("--xYzZY", named("a.txt"), "", "d", "--xYzZY--"), "a.txt", "", "d", true},
		{"escaped quote", form("--xYzZY", named(`"a\"b\\.txt"`), "", "d", "--xYzZY--"), `.txt`, "", "d", true},
		{"windows path", form("--xYzZY", named(`"C:\dir\a.txt"`), "", "d", "--xYzZY--"), "a.txt", "", "d", true},
		{"parent path", form("--xYzZY", named(`"../../x"`), "", "d", "--xYzZY--"), "x", "", "d", true},
		{"only a path", form("--xYzZY", named(`"../.."`), "", "d", "--xYzZY--"), "", "", "d", true},
		{"UTF-8 name", form("--xYzZY", named(`"größe.txt"`), "", "d", "--xYzZY--"), "größe.txt", "", "d", true},
		{"extended name wins", form("--xYzZY", named(`"x"; filename*=UTF-8''gr%C3%B6%C3%9Fe%2e%00txt`), "", "d", "--xYzZY--"), "größe.txt", "", "d", true},
		{"unreadable disposition names nothing", form("--xYzZY", named(`a b c`), "", "d", "--xYzZY--"), "", "", "d", true},
	} {
		body := []byte(c.body)
		p, err := Parse([]byte(formHeader), nil, body)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if string(p.Name) != c.name || string(p.Mime) != c.mime || string(p.Data) != c.data {
			t.Errorf("%s: got name %q mime %q data %q", c.what, p.Name, p.Mime, p.Data)
		}
		if _, ok := parseCommon([]byte("xYzZY"), body); ok != c.common {
			t.Errorf("%s: read by the own parser: %v", c.what, ok)
		}
		if string(body) != c.body {
			t.Errorf("%s: the body was written to", c.what)
		}
	}
}

func TestParsePartFields(t *testing.T) {
	for _, newline := range []string{"\r\n", "\n"} { // own parser, fallback
		body := strings.Join([]string{"--b", `Content-Disposition: form-data; name="f"; filename="a"`,
			"Content-Encoding: GZIP", "Content-MD5:  XUFAKrxLKna5cZ2REBfFkg== ", "", "d", "--b--"}, newline)
		p, err := Parse([]byte("multipart/form-data; boundary=b"), nil, []byte(body))
		if err != nil || !p.Gzipped || string(p.MD5) != "XUFAKrxLKna5cZ2REBfFkg==" {
			t.Errorf("line end %q: gzipped %v, md5 %q, %v", newline, p.Gzipped, p.MD5, err)
		}
	}
}

func TestParseFormErrors(t *testing.T) {
	file := `Content-Disposition: form-data; name="f"; filename="a"`
	many := strings.Repeat("--xYzZY\r\n\r\n\r\n", maxParts+1) + "--xYzZY--"
	for _, c := range []struct {
		what, contentType, body string
		want                    error
	}{
		{"empty body", formHeader, "", ErrTruncated},
		{"other boundary", formHeader, strings.ReplaceAll(simple, "xYzZY", "else"), ErrTruncated},
		{"no part", formHeader, "--xYzZY--\r\n", ErrNoPart},
		{"no part, bare", formHeader, "--xYzZY--", ErrNoPart},
		{"header without colon", formHeader, form("--xYzZY", "oops", "", "d", "--xYzZY--"), ErrMalformed},
		{"NUL in a header", formHeader, form("--xYzZY", file+"\x00", "", "d", "--xYzZY--"), ErrMalformed},
		{"junk behind a boundary", formHeader, form("--xYzZY", file, "", "d", "--xYzZY x", ""), ErrMalformed},
		{"too many parts", formHeader, many, ErrMalformed},
		{"too many parts in the fallback", formHeader, "\r\n" + many, ErrMalformed},
		{"second part cut in its header", formHeader, form("--xYzZY", file, "", "d", "--xYzZY", "Content-Type: a"), ErrTruncated},
		{"later part cut before something like an end", formHeader, form("--xYzZY", file, "", "d", "--xYzZY", "", "d\n--xYzZY--"), ErrTruncated},
		{"second part without header", formHeader, form("--xYzZY", file, "", "d", "--xYzZY", ""), ErrTruncated},
		{"no boundary parameter", "multipart/form-data", simple, ErrMalformed},
		{"empty boundary", `multipart/form-data; boundary=""`, simple, ErrMalformed},
		{"unquoted boundary that needs quotes", "multipart/form-data; boundary=a=b", simple, ErrMalformed},
		{"line end in the boundary", "multipart/form-data; boundary*=utf-8''a%0D%0Ab", simple, ErrMalformed},
	} {
		if p, err := Parse([]byte(c.contentType), nil, []byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, part %+v", c.what, err, p)
		}
	}
}

// A body that lost its tail anywhere is refused, by the own parser and by the fallback.
func TestParseTruncated(t *testing.T) {
	for what, body := range map[string]string{
		"common":      simple,
		"two parts":   strings.TrimSuffix(simple, "--\r\n") + "\r\n\r\nsecond\r\n--xYzZY--\r\n",
		"with fields": "preamble\r\n" + simple,
		"bare LF":     strings.ReplaceAll(simple, "\r\n", "\n"),
	} {
		whole := strings.LastIndex(body, "--") + 2
		for n := range whole {
			_, err := Parse([]byte(formHeader), nil, []byte(body[:n]))
			if !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s: the first %d of %d bytes give %v", what, n, len(body), err)
			}
		}
		for n := whole; n <= len(body); n++ {
			if _, err := Parse([]byte(formHeader), nil, []byte(body[:n])); err != nil && n != len(body)-1 {
				t.Errorf("%s: the first %d of %d bytes, complete, give %v", what, n, len(body), err)
			}
		}
	}
}

func TestFormBoundary(t *testing.T) {
	for _, c := range []struct {
		contentType, boundary string
		form                  bool
	}{
		{"multipart/form-data; boundary=abc", "abc", true},
		{"Multipart/Form-Data;BOUNDARY=abc", "abc", true},
		{"multipart/form-data \t; \tboundary=abc", "abc", true},
		{"multipart/form-data; charset=utf-8; boundary=abc", "abc", true},
		{"multipart/form-data; boundary=abc; charset=utf-8", "abc", true},
		{`multipart/form-data; boundary="a b:c/=?"`, "a b:c/=?", true},
		{`multipart/form-data; boundary="a\"b"`, `a"b`, true},
		{"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", "----WebKitFormBoundary7MA4YWxkTrZu0gW", true},
		{"multipart/form-database; boundary=abc", "", false},
		{"multipart/mixed; boundary=abc", "", false},
		{"text/plain", "", false},
		{"", "", false},
	} {
		boundary, form, err := formBoundary([]byte(c.contentType))
		if string(boundary) != c.boundary || form != c.form || err != nil {
			t.Errorf("%q: %q, %v, %v", c.contentType, boundary, form, err)
		}
	}
}

func TestParseRaw(t *testing.T) {
	for _, c := range []struct{ contentType, disposition, name, mime string }{
		{"", "", "", ""},
		{"text/html; charset=utf-8", "", "", "text/html; charset=utf-8"},
		{"application/x-www-form-urlencoded", "", "", ""},
		{"application/octet-stream; charset=binary", "", "", ""},
		{"multipart/mixed; boundary=b", "", "", "multipart/mixed; boundary=b"},
		{"nonsense", "", "", ""},
		{"text/plain\r\nX-Evil: 1", "", "", ""},
		{"text/" + strings.Repeat("x", 300), "", "", ""},
		{"image/png", `attachment; filename="a.png"`, "a.png", "image/png"},
		{"", `inline; filename=a.png`, "a.png", ""},
		{"", `attachment; filename="fallback"; filename*=UTF-8''%e2%82%ac%20rates`, "€ rates", ""},
		{"", `attachment; filename="/etc/passwd"`, "passwd", ""},
		{"", `attachment; filename=a b`, "", ""},
		{"", `attachment`, "", ""},
	} {
		body := []byte("a=1&b=2")
		p, err := Parse([]byte(c.contentType), []byte(c.disposition), body)
		if err != nil || string(p.Name) != c.name || string(p.Mime) != c.mime || &p.Data[0] != &body[0] || len(p.Data) != len(body) {
			t.Errorf("%+v: name %q mime %q data %q, %v", c, p.Name, p.Mime, p.Data, err)
		}
	}
}

func TestBaseName(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for name, want := range map[string]string{
		"":                      "",
		"a":                     "a",
		"dir/a.txt":             "a.txt",
		`C:\dir\a.txt`:          "a.txt",
		`mixed/up\a`:            "a",
		"dir/":                  "dir",
		"/":                     "",
		`\\`:                    "",
		".":                     "",
		"..":                    "",
		"a/..":                  "",
		"..\x00":                "",
		"...":                   "...",
		"a\x00b\nc\x7fd\u0085e": "abcde",
		"\x00":                  "",
		"Ümlaut":                "Ümlaut",
		"\xff\xc2":              "\xff\xc2",
		"\xc2\x00a":             "\xc2a",
		long:                    long[:254],
		"\x00" + long:           long[:254],
		"x" + long:              "x" + long[:254],
	} {
		if got := baseName([]byte(name)); string(got) != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

// The common forms allocate nothing: the POST path of the volume server counts on it.
func TestParseAllocates(t *testing.T) {
	body := kilobyteForm(1024)
	header, empty := []byte(formHeader), []byte("text/plain")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(header, nil, body); err != nil {
			t.Error(err)
		}
		if _, err := Parse(empty, nil, body); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// kilobyteForm is a form like curl's around n bytes of binary data.
func kilobyteForm(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	return fmt.Appendf(nil, "--xYzZY\r\nContent-Disposition: form-data; name=\"file\"; filename=\"hello.bin\"\r\n"+
		"Content-Type: application/x-seven\r\n\r\n%s\r\n--xYzZY--\r\n", data)
}

func BenchmarkParse(b *testing.B) {
	boundary := "------------------------d74496d66958873e"
	curl := func(n int) []byte {
		return bytes.ReplaceAll(kilobyteForm(n), []byte("xYzZY"), []byte(boundary))
	}
	header := []byte("multipart/form-data; boundary=" + boundary)
	for _, c := range []struct {
		name        string
		contentType []byte
		body        []byte
	}{
		{"form/1KiB", header, curl(1 << 10)},
		{"form/4MiB", header, curl(4 << 20)},
		{"form/1KiB/fallback", header, append([]byte("\r\n"), curl(1<<10)...)},
		{"raw/1KiB", []byte("application/octet-stream"), make([]byte, 1<<10)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if _, err := Parse(c.contentType, nil, c.body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
