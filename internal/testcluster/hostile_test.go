package testcluster_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// say sends raw bytes, ends its side of the connection, and returns all that comes back.
func say(t *testing.T, addr, raw string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("%s does not answer any more: %v", addr, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testcluster.Patience))
	// The server may answer and close before it has read everything.
	_, _ = io.WriteString(conn, raw)
	_ = conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no end of the answer to %.60q", raw)
	}
	return answer
}

// statuses returns the statuses of the answers in raw. Every refusal must be JSON with an error text.
func statuses(t *testing.T, request string, raw []byte) (list []int) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(raw))
	for {
		method := http.MethodGet
		if strings.HasPrefix(request, "HEAD") {
			method = http.MethodHead
		}
		answer, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if err != io.ErrUnexpectedEOF && err != io.EOF {
				t.Errorf("%.60q: %v in %.200q", request, err, raw)
			}
			return list
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Errorf("%.60q: %v in %.200q", request, err, raw)
		}
		if answer.StatusCode >= 400 && method != http.MethodHead {
			var e struct {
				Error *string `json:"error"`
				Size  *int    `json:"size"` // of a DELETE
			}
			if err := json.Unmarshal(body, &e); err != nil || e.Error == nil && e.Size == nil || answer.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%.60q: answer %d with %q %.200q", request, answer.StatusCode, answer.Header.Get("Content-Type"), body)
			}
		}
		list = append(list, answer.StatusCode)
	}
}

const end = " HTTP/1.1\r\nHost: x\r\n\r\n"

// hostile are requests that no honest client sends, and the statuses that they may get; none means that the
// connection may be closed without a word. FID stands for a blob that is there, NEW for a fid that is free.
var hostile = []struct {
	raw  string
	want []int
}{
	{"", nil},
	{"\r\n\r\n\r\n", nil},
	{"\x00\x00\x00\x00", []int{400}},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []int{400}},
	{"GET", []int{400}},
	{"GET /\r\n\r\n", []int{400, 505}},
	{"GET / HTTP/9.9\r\nHost: x\r\n\r\n", []int{400, 404, 200, 505}},
	{"GET  HTTP/1.1\r\nHost: x\r\n\r\n", []int{400, 404, 200}},
	{"GET FID" + end, []int{400, 404, 200, 301}},
	{"BREW /FID" + end, []int{405, 400, 307, 501}},
	{"\xff\xfe /FID" + end, []int{405, 400, 307, 501}},
	{"GET /" + strings.Repeat("a", 1<<20) + end, []int{414, 431, 400}},
	{"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", []int{431, 400}},
	{"GET /healthz HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 100000) + "\r\n", []int{431, 400}},
	{"GET /healthz HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", []int{400, 200}},
	{"GET /healthz HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n", []int{400, 200}},
	{"GET /healthz HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n", []int{400, 200}},
	{"GET /%zz" + end, []int{400, 404}},
	{"GET /..%2f..%2fetc/passwd" + end, []int{400, 404}},
	{"GET /../../etc/passwd" + end, []int{400, 404}},
	{"GET //////" + end, []int{400, 404, 200}},
	{"GET /\x00" + end, []int{400, 404}},
	{"GET /3," + end, []int{400, 404}},
	{"GET /,01637037d6" + end, []int{400, 404}},
	{"GET /0,01637037d6" + end, []int{400, 404}},
	{"GET /99999999999999999999,01637037d6" + end, []int{400, 404}},
	{"GET /4294967296,01637037d6" + end, []int{400, 404}},
	{"GET /3,01637037d6_99999999999999999999" + end, []int{400, 404}},
	{"GET /3,ffffffffffffffffffffffff_1" + end, []int{400, 404}},
	{"GET /3,zz637037d6" + end, []int{400, 404}},
	{"GET /FID HTTP/1.1\r\nHost: x\r\nRange: bytes=" + strings.Repeat("0-0,", 2000) + "0-0\r\n\r\n", []int{200, 206, 416, 431, 301}},
	{"GET /FID HTTP/1.1\r\nHost: x\r\nRange: bytes=99999999999999999999999-\r\n\r\n", []int{200, 416, 301}},
	{"GET /FID HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"" + strings.Repeat("\\", 2000) + "\r\n\r\n", []int{200, 301, 400}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\n\r\n", []int{201, 400, 411, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort", []int{400, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", []int{400, 411, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", []int{400, 413, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: 4611686018427387904\r\n\r\nabc", []int{400, 413, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", []int{400, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400, 201, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", []int{400, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n", []int{400, 413, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", []int{400, 307}},
	{"PUT /NEW HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", []int{400, 501, 411, 201, 307}},
	{"POST /NEW HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc", []int{400, 307}},
	{"POST /NEW HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b\r\n\r\nabc", []int{400, 307}},
	{"POST /NEW HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", []int{400, 307}},
	{"POST /NEW?ts=soon HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", []int{400, 307}},
	{"POST /NEW?ttl=9x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", []int{400, 307}},
	{"POST /NEW HTTP/1.1\r\nHost: x\r\nContent-MD5: AAAA\r\nContent-Length: 3\r\n\r\nabc", []int{400, 307}},
	{"DELETE /3" + end, []int{400, 404, 405}},
	{"GET /dir/assign?count=-1" + end, []int{406, 404}},
	{"GET /dir/assign?count=99999999999999999999" + end, []int{406, 404}},
	{"GET /dir/assign?replication=9x9" + end, []int{406, 404}},
	{"GET /dir/assign?ttl=%00" + end, []int{406, 404}},
	{"GET /dir/assign?collection=../../x" + end, []int{400, 404, 406}},
	{"GET /dir/lookup?volumeId=%ff" + end, []int{400, 404}},
	{"GET /vol/grow?count=1000000000" + end, []int{400, 404, 406}},
	{"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5\r\n\r\n--b--", []int{400, 404}},
	{"POST /internal/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"URL\":[]", []int{400, 404}},
	{"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /\x01 HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz" + end, []int{200, 400, 404}},
}

// TestMalformedRequests says what no client should to a master and a volume server. Each is refused with a
// reason, and the servers go on.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartServer("-idleTimeout=5")
	c.WaitWritable()
	fid := submit(t, m.URL("/submit"), "there.txt", "still there").Field(t, "fid")
	for _, s := range []*testcluster.Server{m, v} {
		for _, h := range hostile {
			raw := h.raw
			if strings.Contains(raw, "NEW") {
				free, ok, err := assign(m, 1)
				if !ok {
					t.Fatal("not assigned:", err)
				}
				raw = strings.ReplaceAll(raw, "NEW", free.String())
			}
			raw = strings.ReplaceAll(raw, "FID", fid)
			got := statuses(t, raw, say(t, s.Addr, raw))
			for _, status := range got {
				if !slices.Contains(h.want, status) {
					t.Errorf("%s: %.80q got %v, want one of %v", s.Addr, raw, got, h.want)
				}
			}
			if len(got) == 0 && len(h.want) > 0 && !torn(raw) {
				t.Errorf("%s: %.80q got no answer, want one of %v", s.Addr, raw, h.want)
			}
		}
		expect(t, http.StatusOK, "*", http.MethodGet, s.URL("/healthz"), "")
	}
	expect(t, http.StatusOK, "still there", http.MethodGet, v.URL("/"+fid), "")
}

// torn reports whether a request ends in its middle: then nobody waits for an answer.
func torn(raw string) bool {
	return strings.Trim(raw, "\r\n") == "" || !strings.Contains(raw, "\r\n\r\n") || strings.Contains(raw, "short") || strings.HasSuffix(raw, "abc\r\n")
}

// TestTruncatedUploads breaks uploads off at many places, by every way to end a connection. Nothing of them
// is stored, and nothing is left in use.
func TestTruncatedUploads(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartServer("-idleTimeout=5", "-volume.fileSizeLimitMB=1", "-volume.concurrentUploadLimitMB=2")
	c.WaitWritable()
	content := strings.Repeat("content ", 64<<10)
	body, header := testcluster.Form("a.bin", content)
	for i, whole := range []string{
		fmt.Sprintf("PUT /FID HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(content), content),
		fmt.Sprintf("POST /FID HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", header, len(body), body),
		fmt.Sprintf("PUT /FID HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(content), content),
	} {
		for j := range 12 { // each holds room for an upload: twelve would use it all up if it were not given back
			fid, ok, err := assign(m, 1)
			if !ok {
				t.Fatal("not assigned:", err)
			}
			raw := strings.Replace(whole, "FID", fid.String(), 1)
			cut := len(raw) * (j + 1) / 13
			if j == 11 {
				cut = len(raw) - 1
			}
			conn, err := net.Dial("tcp", v.Addr)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, raw[:cut])
			if j%2 == 0 { // a reset instead of an end
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close()
			// An upload behind it finds room, and the one before it is not there.
			testcluster.WaitFor(t, "an upload after a truncated one", func() error {
				return testcluster.Do(http.MethodPut, v.URL("/"+fid.String()+"_1"), content).Want(http.StatusCreated)
			})
			if a := testcluster.Do(http.MethodGet, v.URL("/"+fid.String()), ""); a.Status != http.StatusNotFound {
				t.Errorf("form %d, cut at %d of %d: %d with %d bytes", i, cut, len(raw), a.Status, len(a.Body))
			}
		}
	}
	a := testcluster.Do(http.MethodPost, m.URL("/submit"), strings.Repeat("x", 1<<20+1))
	if a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("an upload over the limit through the master: %v", a.Err())
	}
	fid, _, _ := assign(m, 1)
	expect(t, http.StatusRequestEntityTooLarge, "*", http.MethodPut, v.URL("/"+fid.String()), strings.Repeat("x", 1<<20+1))
	expect(t, http.StatusCreated, "*", http.MethodPut, v.URL("/"+fid.String()), strings.Repeat("x", 1<<20))
}
