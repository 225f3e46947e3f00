package volume

import (
	"strings"
	"testing"
)

func TestEveryFormOfAPath(t *testing.T) {
	n := start(t, nil)
	n.put("/3,01637037d6", "one")
	for _, path := range []string{
		"/3,01637037d6", "/3,01637037D6", "/3,1637037d6", "/3,00000000000000016" + "37037d6",
		"/3,01637037d6.jpg", "/3/01637037d6", "/3/01637037d6.jpg", "/3/01637037D6/name.jpg",
		"/3,01637037d6_0", "/3,01637037d6_0.jpg", "/3/01637037d6_0/a%20b.jpg", "//3,01637037d6", "/3,01637037d6?x=y",
	} {
		n.get(path).want(200).is("one")
		n.do("HEAD", path, "").want(200).has("Content-Length", "3").is("")
	}
	n.put("/3,01637037d6_12", "thirteen")
	n.get("/3,0d637037d6").want(200).is("thirteen")
	n.get("/3/01637037d6_12.txt").want(200).is("thirteen").has("Content-Type", "text/plain; charset=utf-8")
	n.put("/3/0e637037d6/pic.png", "p").says(`"name":"pic.png"`)
	n.put("/3,0f637037d6.gif", "p").says(`"name":""`)
	n.do("DELETE", "/3/0e637037d6/pic.png", "").want(202).is(`{"size":1}`)
}

func TestMalformedAndUnknownPaths(t *testing.T) {
	n := start(t, nil)
	malformed := []string{
		"/3", "/3,", "/3/", "/3,12345678", "/3,xyz", "/3,01637037dg", "/3,01637037d6_", "/3,01637037d6_x",
		"/3,01637037d6_-1", "/3,0000000000000000001637037d6", "/0,01637037d6", "/4294967296,01637037d6",
		"/3,01637037d6/x", "/3/01637037d6/a/b", "/3/01637037d6/a%2Fb", "/3a,01637037d6", "/3,01637037d6,2",
		"/3,ffffffffffffffff637037d6_1", "/3,%00", "/3." + strings.Repeat("9", 300),
	}
	for _, path := range malformed {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
			n.do(method, path, "").want(400).says("malformed")
		}
		n.do("HEAD", path, "").want(400).is("")
	}
	for _, path := range []string{"/", "/x", "/favicon.ico", "/status/", "/statusx", "/,01637037d6", "/-3,01637037d6", "/internal/volume/none"} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "OPTIONS"} {
			n.do(method, path, "").want(404)
		}
	}
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		n.do(method, "/4,01637037d6", "x").want(404).says("volume 4")
	}
}

// Request targets that are no plain path.
func TestOtherRequestTargets(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "content")
	a := n.exchange("GET http://elsewhere"+fid+" HTTP/1.1\r\nHost: x\r\n\r\n"+
		"GET /x/../3/./01637037d6 HTTP/1.1\r\nHost: x\r\n\r\n"+
		"GET /%33%2C01637037d6 HTTP/1.1\r\nHost: x\r\n\r\n"+
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "GET", "GET", "OPTIONS")
	for _, get := range a[:3] {
		if get.StatusCode != 200 || get.body != "content" {
			t.Errorf("%d %q", get.StatusCode, get.body)
		}
	}
	if a[3].StatusCode != 204 {
		t.Errorf("OPTIONS *: %d %q", a[3].StatusCode, a[3].body)
	}
}

func TestMethods(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "kept")
	const blobMethods = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
	for path, allow := range map[string]string{
		fid: blobMethods, "/3/01637037d6/name": blobMethods,
		"/status": "GET, HEAD, OPTIONS", "/healthz": "GET, HEAD, OPTIONS", "/readyz": "GET, HEAD, OPTIONS",
		"/metrics": "GET, HEAD, OPTIONS", "/internal/volume/create": "POST, OPTIONS",
		"/internal/volume/delete": "POST, OPTIONS", "/internal/volume/mark": "POST, OPTIONS",
	} {
		n.do("OPTIONS", path, "").want(204).has("Allow", allow).is("")
		n.do("PATCH", path, "x").want(405).has("Allow", allow)
		n.do("TRACE", path, "").want(405).has("Allow", allow)
		if !strings.Contains(allow, "DELETE") {
			n.do("DELETE", path, "").want(405).has("Allow", allow)
		}
	}
	n.get("/internal/volume/delete").want(405)
	n.get(fid).want(200).is("kept")
}
