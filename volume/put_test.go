package volume

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"weed/storage"
)

// deflate returns the gzip form of text.
func deflate(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	return b.String()
}

func inflateText(t *testing.T, data string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func etagOf(stored string) string {
	return fmt.Sprintf(`"%08x"`, storage.Checksum([]byte(stored)))
}

func digestOf(text string) string {
	sum := md5.Sum([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestUploadAsAForm(t *testing.T) {
	n := start(t, nil)
	tag := etagOf("hello, world!\n\n")
	n.upload(fid, "hello.txt", "hello, world!\n\n", "Content-Type", "text/plain").want(201).has("ETag", tag, "Content-Type", "application/json").
		is(`{"name":"hello.txt","size":15,"eTag":` + tag + `,"mime":"text/plain"}`)
	n.get(fid).want(200).is("hello, world!\n\n").has("Content-Type", "text/plain", "ETag", tag,
		"Content-Disposition", `inline; filename="hello.txt"`, "Content-Length", "15", "Accept-Ranges", "bytes")

	body, mime := form("hello.txt", "again")
	n.do("POST", fid+"?pretty=y", body, "Content-Type", mime).want(201).
		is("{\n  \"name\": \"hello.txt\",\n  \"size\": 5,\n  \"eTag\": " + etagOf("again") + "\n}")
	n.do("PUT", fid, body, "Content-Type", mime).want(201)
	n.get(fid).want(200).is("again").has("Content-Type", "text/plain; charset=utf-8")

	// The first part with a file name counts, else the first part.
	two := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nfield\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"b\"; filename=\"b.bin\"\r\n\r\nfile\r\n--x--\r\n"
	n.do("POST", fid, two, "Content-Type", "multipart/form-data; boundary=x").want(201)
	n.get(fid).is("file")
	one := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nfield\r\n--x--\r\n"
	n.do("POST", fid, one, "Content-Type", "multipart/form-data; boundary=x").want(201)
	n.get(fid).is("field").has("Content-Disposition", "")
	for _, broken := range []string{"", "no part", two[:len(two)-8], "--x--\r\n", "--x\r\n"} {
		n.do("POST", fid, broken, "Content-Type", "multipart/form-data; boundary=x").want(400)
	}
	n.do("POST", fid, two, "Content-Type", "multipart/form-data").want(400)
	n.get(fid).is("field")
}

func TestUploadOfARawBody(t *testing.T) {
	n := start(t, nil)
	for _, method := range []string{"PUT", "POST"} {
		// What curl --data-binary sends, and what a form parser would eat.
		n.do(method, fid, "a=1&b=%41", "Content-Type", "application/x-www-form-urlencoded").want(201).
			is(`{"name":"","size":9,"eTag":` + etagOf("a=1&b=%41") + `}`)
		n.get(fid).want(200).is("a=1&b=%41").has("Content-Type", "text/plain; charset=utf-8", "Content-Disposition", "")
		n.do(method, fid, "{}", "Content-Type", "application/vnd.x+json", "Content-Disposition", `attachment; filename="a.json"`).want(201)
		n.get(fid).is("{}").has("Content-Type", "application/vnd.x+json", "Content-Disposition", `inline; filename="a.json"`)
		n.do(method, fid, "--x", "Content-Type", "multipart/mixed; boundary=x").want(201)
		n.get(fid).is("--x")
	}
	n.do("PUT", fid, "part", "Content-Range", "bytes 3-6/9").want(400).says("Content-Range")
	n.get(fid).is("--x")
	// Of unknown length.
	n.send("PUT", fid, io.MultiReader(strings.NewReader("in "), strings.NewReader("chunks"))).want(201).says(`"size":9`)
	n.get(fid).is("in chunks")
}

func TestEmptyBlobKeepsItsAttributes(t *testing.T) {
	n := start(t, nil)
	n.upload(fid, "empty.css", "", "Content-Type", "text/css").want(201).is(`{"name":"empty.css","size":0,"eTag":"00000000","mime":"text/css"}`)
	n.get(fid).want(200).is("").has("Content-Length", "0", "Content-Type", "text/css", "ETag", `"00000000"`,
		"Content-Disposition", `inline; filename="empty.css"`)
	n.do("PUT", fid, "", "Content-Type", "image/png", "Seaweed-Owner", "me", "Content-Disposition", `inline; filename="e.png"`).want(201)
	n.get(fid).want(200).is("").has("Content-Type", "image/png", "Owner", "me", "Content-Disposition", `inline; filename="e.png"`)
	n.get(fid, "Range", "bytes=0-").want(416).has("Content-Range", "bytes */0")
	n.do("DELETE", fid, "").want(202).is(`{"size":0}`)
	n.get(fid).want(404)
	n.do("DELETE", fid, "").want(404).is(`{"size":0}`)
}

func TestNames(t *testing.T) {
	n := start(t, nil)
	for _, c := range []struct{ sent, json, disposition string }{
		{`filename="plain name.txt"`, `plain name.txt`, `filename="plain name.txt"`},
		{`filename="a;b,c.txt"`, `a;b,c.txt`, `filename="a;b,c.txt"`},
		{`filename="say \"hi\".txt"`, `say \"hi\".txt`, `filename="say \"hi\".txt"`},
		{`filename="übung.txt"`, `übung.txt`, `filename="__bung.txt"; filename*=UTF-8''%C3%BCbung.txt`},
		{`filename*=UTF-8''%e4%bd%a0.txt`, `你.txt`, `filename="___.txt"; filename*=UTF-8''%E4%BD%A0.txt`},
		{`filename="../../etc/passwd"`, `passwd`, `filename="passwd"`},
		{`filename="C:\\dir\\x.doc"`, `x.doc`, `filename="x.doc"`},
		{`filename=".."`, ``, ``},
		{`filename*=UTF-8''a%0d%0aSet-Cookie%3A%20b.txt`, `aSet-Cookie: b.txt`, `filename="aSet-Cookie: b.txt"`},
	} {
		want := "inline; " + c.disposition
		if c.disposition == "" {
			want = ""
		}
		body := "--x\r\nContent-Disposition: form-data; name=\"f\"; " + c.sent + "\r\n\r\nx\r\n--x--\r\n"
		n.do("POST", fid, body, "Content-Type", "multipart/form-data; boundary=x").want(201).says(`{"name":"` + c.json + `"`)
		n.get(fid).want(200).has("Content-Disposition", want, "Set-Cookie", "")
		n.do("PUT", fid, "x", "Content-Disposition", "attachment; "+c.sent).want(201).says(`{"name":"` + c.json + `"`)
		n.get(fid).want(200).has("Content-Disposition", want, "Set-Cookie", "")
		n.get(fid+"?dl=true").want(200).has("Content-Disposition", strings.TrimSuffix(strings.Replace("attachment; "+c.disposition, "inline", "attachment", 1), "; "))
	}
	long := strings.Repeat("é", 200) + ".txt"
	n.upload(fid, long, "x").want(201).says(strings.Repeat("é", 127) + `"`)
	// A name in the path: cleaned alike, on the way in and on the way out.
	n.put("/3/01637037d6/a%0d%0aX-Y:%20z.txt", "x").says(`{"name":"aX-Y: z.txt"`)
	n.get(fid).has("Content-Disposition", `inline; filename="aX-Y: z.txt"`, "X-Y", "")
	n.put("/3/01637037d6/"+strings.Repeat("n", 300), "x").says(`{"name":"` + strings.Repeat("n", 255) + `"`)
	n.get("/3/01637037d6/other%22%0d%0aX-Y:%20z.txt").want(200).has("Content-Disposition", `inline; filename="other\"X-Y: z.txt"`, "X-Y", "")
}

func TestContentMD5(t *testing.T) {
	n := start(t, nil)
	n.do("PUT", fid, "good", "Content-MD5", digestOf("good")).want(201)
	n.do("PUT", fid, "bad", "Content-MD5", digestOf("good")).want(400).says("Content-MD5")
	n.do("PUT", fid, "bad", "Content-MD5", "nonsense").want(400)
	n.get(fid).is("good")
	n.upload(fid, "x", "in a part", "Content-MD5", digestOf("in a part")).want(201)
	n.upload(fid, "x", "bad", "Content-MD5", digestOf("in a part")).want(400)
	body, mime := form("x", "of the file")
	n.do("POST", fid, body, "Content-Type", mime, "Content-MD5", digestOf("of the file")).want(201)
	n.do("POST", fid, body, "Content-Type", mime, "Content-MD5", digestOf("else")).want(400)
	n.get(fid).is("of the file")
	// Of compressed content: the bytes sent (RFC 1864), or what they stand for, as some clients have it.
	packed := deflate("text")
	n.do("PUT", fid, packed, "Content-Encoding", "gzip", "Content-MD5", digestOf(packed)).want(201)
	n.do("PUT", fid, packed, "Content-Encoding", "gzip", "Content-MD5", digestOf("text")).want(201)
	n.do("PUT", fid, packed, "Content-Encoding", "gzip", "Content-MD5", digestOf("else")).want(400)
}

func TestContentThatComesCompressed(t *testing.T) {
	n := start(t, nil)
	for _, text := range []string{"", "short text", strings.Repeat("a long text, ", 200_000), noise(100_000, 1)} {
		packed := deflate(text)
		check := func() {
			t.Helper()
			n.get(fid, "Accept-Encoding", "gzip").want(200).is(packed).has("Content-Encoding", "gzip", "Vary", "Accept-Encoding",
				"ETag", etagOf(packed), "Content-Length", fmt.Sprint(len(packed)))
			n.get(fid).want(200).is(text).has("Content-Encoding", "", "Vary", "Accept-Encoding", "Content-Length", fmt.Sprint(len(text)))
			n.do("HEAD", fid, "").want(200).has("Content-Length", fmt.Sprint(len(text)), "Content-Encoding", "")
			n.do("HEAD", fid, "", "Accept-Encoding", "gzip").want(200).has("Content-Length", fmt.Sprint(len(packed)), "Content-Encoding", "gzip")
		}
		n.do("PUT", fid, packed, "Content-Encoding", "gzip").want(201).says(fmt.Sprintf(`"eTag":%s`, etagOf(packed)))
		check()
		n.upload(fid, "x.bin", packed, "Content-Encoding", "gzip").want(201)
		check()
		n.do("DELETE", fid, "").want(202).is(fmt.Sprintf(`{"size":%d}`, len(text)))
	}
	n.put(fid, "kept")
	good := deflate("content")
	for name, damaged := range map[string]string{
		"plain": "content", "empty": "", "cut": good[:len(good)-1], "flipped": good[:len(good)-11] + "\xff" + good[len(good)-10:],
		"followed": good + "x", "two members": good + good, "checksum": good[:len(good)-8] + "xxxx" + good[len(good)-4:],
	} {
		if a := n.do("PUT", fid, damaged, "Content-Encoding", "gzip"); a.StatusCode != 400 {
			t.Errorf("%s: %d", name, a.StatusCode)
		}
		if a := n.upload(fid, "x", damaged, "Content-Encoding", "gzip"); a.StatusCode != 400 {
			t.Errorf("%s in a part: %d", name, a.StatusCode)
		}
	}
	n.do("PUT", fid, "x", "Content-Encoding", "br").want(415).has("Accept-Encoding", "gzip")
	n.get(fid).is("kept")
	n.do("PUT", fid, "plain", "Content-Encoding", "identity").want(201)
	n.get(fid).is("plain").has("Content-Encoding", "")
}

func TestCompressionOfWhatComesPlain(t *testing.T) {
	n := start(t, nil)
	text := strings.Repeat("compressible text ", 1000)
	encoded := func(want string) {
		t.Helper()
		n.get(fid, "Accept-Encoding", "br, gzip;q=0.5").want(200).has("Content-Encoding", want)
		n.get(fid, "Accept-Encoding", "gzip;q=0, *").want(200).has("Content-Encoding", "")
	}
	for _, c := range []struct{ name, mime, content, want string }{
		{"a.txt", "", text, "gzip"},
		{"", "text/html", text, "gzip"},
		{"", "application/json; charset=utf-8", text, "gzip"},
		{"", "image/svg+xml", text, "gzip"},
		{"a.js", "", text, "gzip"},
		{"a.jpg", "", text, ""},
		{"a.gz", "text/plain", text, ""},
		{"", "application/zip", text, ""},
		{"", "", text, ""},
		{"a.txt", "", strings.Repeat("t", 127), ""},
		{"a.txt", "", noise(5000, 3), ""},
	} {
		header := []string{}
		if c.mime != "" {
			header = append(header, "Content-Type", c.mime)
		}
		n.upload(fid, c.name, c.content, header...).want(201).says(fmt.Sprintf(`"size":%d`, len(c.content)))
		n.get(fid).want(200).is(c.content)
		encoded(c.want)
		if c.want == "gzip" {
			a := n.get(fid, "Accept-Encoding", "gzip")
			if inflateText(t, a.body) != c.content || len(a.body) > len(c.content)*9/10 {
				t.Errorf("%s %s: %d bytes on the wire", c.name, c.mime, len(a.body))
			}
		}
		n.do("DELETE", fid, "").want(202).is(fmt.Sprintf(`{"size":%d}`, len(c.content)))
	}
}

// Content of any length is stored and read alike; compressed content takes bounded memory meanwhile.
func TestCompressionOfLargeContent(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *Config) { c.FileSizeLimitBytes, c.UploadBudgetBytes = 2*maxCompressBytes, 4*maxCompressBytes })
	for _, c := range []struct {
		size int
		want string
	}{{maxPooledGzip + 1, "gzip"}, {maxCompressBytes + 1, ""}} {
		text := strings.Repeat("0123456789abcdef", c.size/16+1)[:c.size]
		n.upload(fid, "a.txt", text).want(201)
		n.do("HEAD", fid, "", "Accept-Encoding", "gzip").want(200).has("Content-Encoding", c.want)
		n.get(fid, "Range", "bytes=-5").want(206).is(text[c.size-5:])
	}
	var uploads sync.WaitGroup
	text := strings.Repeat("0123456789abcdef", 1<<20)
	for i := range 5 { // together more than may be compressed at a time
		uploads.Go(func() {
			a, err := n.try("PUT", fmt.Sprintf("/3,%02x637037d6.txt", i+16), strings.NewReader(text), "Content-Type", "text/plain")
			if err != nil || a.StatusCode != 201 {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	uploads.Wait()
	if !n.deflating.TryAcquire(deflatingBytes) {
		t.Error("memory for compressed content is not given back")
	}
	n.get("/3,14637037d6").want(200).is(text)
}

func TestPairs(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "x", "Seaweed-Owner", "me", "seaweed-x-y", "a, b; \"c\" é", "Seaweed-", "nameless", "Seaweedx", "no pair")
	n.get(fid).want(200).has("Owner", "me", "X-Y", "a, b; \"c\" é", "Seaweed-Owner", "", "X", "")
	n.do("HEAD", fid, "").want(200).has("Owner", "me")
	n.get(fid, "If-None-Match", etagOf("x")).want(304).has("Owner", "me")
	n.get(fid, "Range", "bytes=0-0").want(206).has("Owner", "me")
	// Errors and redirects are the server's own.
	n.get(fid, "If-Match", `"0"`).want(412).has("Owner", "")
	n.get(fid, "Range", "bytes=9-").want(416).has("Owner", "")
	n.put(fid, "x")
	n.get(fid).want(200).has("Owner", "")
	// The first of several counts, as it does for clients of this API elsewhere.
	n.put(fid, "x", "Seaweed-A", "1", "Seaweed-A", "2")
	n.get(fid).want(200).has("A", "1")
}

func TestPairsDoNotFrameTheAnswer(t *testing.T) {
	n := start(t, nil)
	hostile := []string{}
	for _, name := range []string{
		"Content-Length", "Content-Type", "Content-Encoding", "Content-Range", "Transfer-Encoding", "Connection", "Trailer",
		"Upgrade", "Keep-Alive", "Date", "Etag", "Last-Modified", "Accept-Ranges", "Set-Cookie", "Location", "Server",
		"Content-Disposition", "Vary", "Alt-Svc", "Www-Authenticate", "Proxy-Authenticate", "Strict-Transport-Security", "Retry-After",
	} {
		hostile = append(hostile, "Seaweed-"+name, "999")
	}
	n.put(fid, "content", append(hostile, "Content-Type", "text/css")...)
	plain := map[string]string{"Content-Length": "7", "Content-Type": "text/css", "Etag": etagOf("content"), "Accept-Ranges": "bytes"}
	for range 2 { // the connection is still in step
		a := n.get(fid).want(200).is("content")
		for i := 0; i < len(hostile); i += 2 {
			name := hostile[i][len("Seaweed-"):]
			switch want, kept := plain[name]; {
			case kept:
				a.has(name, want)
			case a.Header.Get(name) == "999":
				t.Errorf("%s is the uploader's", name)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	n := start(t, nil)
	n.put(fid+"?ts=784111777", "x")
	n.get(fid).want(200).has("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
	n.put(fid+"?fsync=true&ttl=3m", "durable")
	a := n.get(fid).want(200).is("durable")
	if at, err := http.ParseTime(a.Header.Get("Last-Modified")); err != nil || time.Since(at).Abs() > patience {
		t.Errorf("Last-Modified is %v, %v", at, err)
	}
	for _, query := range []string{"ts=x", "ts=-1", "ts=1099511627776", "ttl=3x", "ttl=300d", "ttl=-1", "cm=true"} {
		n.do("PUT", fid+"?"+query, "x").want(400)
	}
	n.get(fid).is("durable")
}

func TestOverwrite(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "first")
	n.put(fid, "first") // identical
	n.get(fid).is("first")
	n.do("PUT", "/3,01637037d7", "thief").want(403)
	n.get(fid).is("first")
	n.put(fid, "second")
	n.get(fid).is("second")
	n.do("DELETE", "/3,01637037d7", "").want(404).is(`{"size":0}`)
	n.do("DELETE", fid, "").want(202).is(`{"size":6}`)
	n.put(fid, "third")
	n.get(fid).is("third")
}

func TestSizeLimits(t *testing.T) {
	const limit = 1 << 20
	n := start(t, func(c *Config) { c.FileSizeLimitBytes, c.UploadBudgetBytes = limit, 4<<20 })
	fits, over := noise(limit, 1), noise(limit+1, 1)
	n.put(fid, fits)
	n.get(fid).is(fits)
	n.upload(fid, "fits.bin", fits).want(201)
	n.do("PUT", fid, over).want(413)
	n.upload(fid, "over.bin", over).want(413)
	n.send("PUT", fid, io.MultiReader(strings.NewReader(over))).want(413) // chunked
	n.do("PUT", fid, over+over).want(413)                                 // refused by its head
	n.do("PUT", fid, deflate(strings.Repeat("\x00", limit+1)), "Content-Encoding", "gzip").want(413)
	n.get(fid).is(fits)

	req, err := http.NewRequest("PUT", "http://"+n.addr+fid, strings.NewReader(over+over))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	resp, err := n.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("Expect: 100-continue: %d", resp.StatusCode)
	}
}
