package volume

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"weed/storage"
)

// exchange sends raw requests over one connection and reads as many answers.
func (n *node) exchange(text string, methods ...string) []*answer {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		n.t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c, text) }()
	r := bufio.NewReader(c)
	var answers []*answer
	for _, method := range methods {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			n.t.Fatalf("answer %d: %v", len(answers), err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			n.t.Fatal(err)
		}
		answers = append(answers, &answer{Response: resp, t: n.t, what: method, body: string(body)})
	}
	return answers
}

func TestPipelinedRequests(t *testing.T) {
	n := start(t, nil)
	large := noise(3*copyLimitBytes, 1)
	var text strings.Builder
	var methods []string
	add := func(method, path, header, body string) {
		fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n%s", method, path, header)
		if method == "PUT" {
			fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
		}
		text.WriteString("\r\n" + body)
		methods = append(methods, method)
	}
	add("PUT", "/3,01637037d6", "", "small")
	add("PUT", "/3,02637037d6", "", large)
	add("GET", "/3,01637037d6", "", "")
	add("HEAD", "/3,02637037d6", "", "")
	add("GET", "/3,02637037d6", "", "")
	add("GET", "/3,02637037d6", "Range: bytes=0-1,70000-70001\r\n", "")
	add("GET", "/3,01637037d6", "If-None-Match: *\r\n", "")
	add("DELETE", "/3,01637037d6", "", "")
	add("GET", "/3,01637037d6", "", "")
	add("GET", "/3,02637037d6", "Range: bytes=-3\r\n", "")
	a := n.exchange(text.String(), methods...)
	for i, status := range []int{201, 201, 200, 200, 200, 206, 304, 202, 404, 206} {
		if a[i].StatusCode != status {
			t.Fatalf("answer %d, to %s: %d, want %d", i, methods[i], a[i].StatusCode, status)
		}
	}
	a[2].is("small")
	a[4].is(large)
	a[9].is(large[len(large)-3:])
}

func TestHeadersThatAreTooLarge(t *testing.T) {
	n := start(t, nil)
	n.do("PUT", fid, "x", "Seaweed-Big", strings.Repeat("x", 70<<10)).want(431)
	big := strings.Repeat("x", 6<<10)
	n.put(fid, "x", "Seaweed-Big", big)
	n.get(fid).want(200).has("Big", big)
	n.do("GET", "/3/01637037d6/"+strings.Repeat("n", 70<<10), "").want(431)
	n.get("/3," + strings.Repeat("0", 5<<10) + "1637037d6").want(400)
}

// Whatever a foreign or hostile writer has put into a needle, the head of the answer stays in one piece.
func TestNeedlesWithHostileFields(t *testing.T) {
	n := start(t, nil)
	v, _ := n.store.Volume(3)
	for _, needle := range []storage.Needle{
		{Name: []byte("a\r\nX-Injected: 1\r\x01\nb.txt")},
		{Mime: []byte("text/plain\r\nX-Injected: 1")},
		{Mime: []byte("text/\x00\xff")},
		{Pairs: []byte(`{"X-A":"b\r\nX-Injected: 1","X-B\r\nX-Injected":"1","X Injected":"1","":"1","X-Injected:":"1"}`)},
		{Pairs: []byte(`{"Content-Length":"3","Transfer-Encoding":"chunked","CONNECTION":"close"}`)},
		{Pairs: []byte(`[1]`)},
		{Pairs: []byte("\xff")},
	} {
		needle.Key, needle.Cookie, needle.Data = 1, 0x637037d6, []byte("content")
		if err := v.Put(&needle); err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"GET", "HEAD"} {
			a := n.do(method, fid, "").want(200).has("X-Injected", "", "X-A", "", "Content-Length", "7")
			if method == "GET" {
				a.is("content")
			}
			if len(needle.Name) > 0 {
				a.has("Content-Disposition", `inline; filename="aX-Injected: 1b.txt"`)
			}
			if a.Close || len(a.TransferEncoding) > 0 {
				t.Errorf("%s: %+v", needle.Pairs, a.Header)
			}
		}
	}
}

// Content that claims to be compressed, by another writer.
func TestForeignCompressedNeedles(t *testing.T) {
	n := start(t, nil)
	v, _ := n.store.Volume(3)
	long := strings.Repeat("0123456789", 300_000)
	packed := deflate(long)
	lies := packed[:len(packed)-4] + "\x40\x00\x20\x00" // 2 MiB and 64 bytes, it says
	for name, data := range map[string]string{
		"no gzip": "plain text, whatever the flag says", "no gzip, large": noise(2*copyLimitBytes, 1), "short": "\x1f\x8b",
		"cut": packed[:len(packed)/2] + "\x00\x00\x01\x00", "lies about its length": lies, "two members": packed + packed,
	} {
		if err := v.Put(&storage.Needle{Key: 1, Cookie: 0x637037d6, Data: []byte(data), Gzipped: true}); err != nil {
			t.Fatal(err)
		}
		n.get(fid, "Accept-Encoding", "gzip").want(200).is(data)
		// Inflated it is an error, before the answer or in its middle, but never a success that is short.
		for _, ranges := range []string{"", "bytes=0-", "bytes=-1", "bytes=0-1,5-"} {
			a, err := n.try("GET", fid, nil, "Range", ranges)
			if err == nil && a.StatusCode != 500 && a.StatusCode != 416 {
				t.Errorf("%s, %q: %d, %d bytes", name, ranges, a.StatusCode, len(a.body))
			}
		}
		n.do("HEAD", fid, "")
	}
}

func TestFormsOfManyParts(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "kept")
	part := "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nv\r\n"
	file := "--x\r\nContent-Disposition: form-data; name=\"a\"; filename=\"f\"\r\n\r\nv\r\n"
	began := time.Now()
	n.do("POST", fid, strings.Repeat(part, 10_000)+"--x--\r\n", "Content-Type", "multipart/form-data; boundary=x").want(400)
	n.do("POST", fid, strings.Repeat(part, 10_000)+file+"--x--\r\n", "Content-Type", "multipart/form-data; boundary=x").want(400)
	n.do("POST", fid, strings.Repeat("--x\r\n", 200_000), "Content-Type", "multipart/form-data; boundary=x").want(400)
	n.do("POST", fid, "--x\r\n"+strings.Repeat("A: b\r\n", 200_000)+"\r\n--x--\r\n", "Content-Type", "multipart/form-data; boundary=x").want(400)
	if took := time.Since(began); took > patience {
		t.Errorf("it took %v", took)
	}
	n.get(fid).is("kept")
}

// A small upload that inflates to the size limit is read in bounded memory, also in many ranges at once.
func TestGzipBomb(t *testing.T) {
	const limit = 16 << 20
	n := start(t, func(c *Config) { c.FileSizeLimitBytes = limit })
	bomb := deflate(strings.Repeat("\x00", limit))
	n.do("PUT", fid, deflate(strings.Repeat("\x00", limit+1)), "Content-Encoding", "gzip").want(413)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n.do("PUT", fid, bomb, "Content-Encoding", "gzip").want(201)
	n.get(fid, "Range", "bytes=-1").want(206).is("\x00")
	n.do("HEAD", fid, "").want(200).has("Content-Length", fmt.Sprint(limit))
	// Sixty ranges in order are one pass; in any other order they are not worth it.
	var ranges []string
	for i := range 60 {
		ranges = append(ranges, fmt.Sprintf("%d-%d", i*limit/60, i*limit/60+1))
	}
	a := n.get(fid, "Range", "bytes="+strings.Join(ranges, ",")).want(206)
	if len(a.body) > 60*200 {
		t.Errorf("%d bytes", len(a.body))
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > limit/2 {
		t.Errorf("%d bytes were allocated for %d on the wire", grown, len(bomb))
	}
	resp, err := n.http.Do(&http.Request{Method: "GET", URL: mustParse("http://" + n.addr + fid),
		Header: http.Header{"Range": {"bytes=9-10,3-4"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ContentLength != limit {
		t.Errorf("ranges out of order: %d, %d bytes", resp.StatusCode, resp.ContentLength)
	}
}

func TestBrokenRequestsLeaveNothing(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "kept")
	for name, request := range map[string]string{
		"cut chunk":       "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
		"between chunks":  "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"bad chunk size":  "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n",
		"cut body":        "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
		"large cut body":  "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + noise(500_000, 1),
		"negative length": "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabc",
		"two lengths":     "PUT " + fid + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
	} {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c) // however the server ends it
		c.Close()
		if strings.HasPrefix(string(got), "HTTP/1.1 2") {
			t.Errorf("%s: %.100q", name, got)
		}
	}
	n.get(fid).want(200).is("kept")
	if status := n.store.Volumes()[0]; status.Live != 1 || status.DeletedCount != 0 {
		t.Errorf("the volume holds %+v", status)
	}
	eventually(t, "the memory is given back", func() bool { return n.budget.InUse() == 0 })
}

// A client that goes away in the middle of an answer costs nothing that lasts.
func TestReadersThatGoAway(t *testing.T) {
	n := start(t, nil)
	n.put(fid, noise(4<<20, 1))
	n.do("PUT", "/3,02637037d6", deflate(strings.Repeat("text ", 1_000_000)), "Content-Encoding", "gzip").want(201)
	n.put("/3,03637037d6?cm=true", chunked([]*node{n}, noise(4<<20, 2), 1<<20, "", ""))
	before := openFiles(t)
	for range 20 {
		for _, request := range []string{"GET /3,01637037d6 ", "GET /3,02637037d6 ", "GET /3,03637037d6 "} {
			for _, ranges := range []string{"", "Range: bytes=0-1000000,2000000-3000000\r\n"} {
				c, err := net.Dial("tcp", n.addr)
				if err != nil {
					t.Fatal(err)
				}
				if _, err = io.WriteString(c, request+"HTTP/1.1\r\nHost: x\r\n"+ranges+"\r\n"); err == nil {
					_, err = io.ReadFull(c, make([]byte, 1000))
				}
				if err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
		}
	}
	eventually(t, "the files are closed", func() bool { return openFiles(t) <= before+2 })
	n.get(fid).want(200)
}
