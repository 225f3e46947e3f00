package shell

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weed/client/filer"
)

// TestVerifySession shows what fs.verify makes of what a filer tells.
func TestVerifySession(t *testing.T) {
	const clean = `{"result":{"volumes":1,"blobs":2,"chunks":1,"files":1,"directories":0}}` + "\n"
	leaks := strings.Repeat(`{"leak":{"fid":"3,01637037d6","size":1200,"appendedAt":1700000000000000000}}`+"\n", 102)
	for _, c := range []struct {
		name, line, answer, query string
		want, wantErr             []string // of the outputs
		failure                   string
	}{
		{"clean", "fs.verify", clean, "graceSeconds=600", []string{"1 file and 0 directories; 1 volume with 2 chunks, 1 of them this filer's.\nClean.\n"}, nil, ""},
		{"progress", "fs.verify -grace=1500ms", `{"progress":{"phase":"list","volumes":1,"of":3,"blobs":7}}` + "\n" + `{"progress":{"phase":"tree","entries":9}}` + "\n" + clean,
			"graceSeconds=2", []string{"Clean."}, []string{"1 of 3 volumes listed, 7 chunks\n9 entries read\n"}, ""},
		{"found", "fs.verify -fix", leaks + `{"dangling":{"path":"/a\u001b","missing":1,"chunks":1,"fid":"3,02","reason":"no server has the chunk"}}
{"failure":"volume 4 was not listed: away"}
{"result":{"dangling":1,"leaks":102,"leakBytes":122400,"failures":1,"young":1,"pending":2}}`, "fix=true&graceSeconds=600",
			[]string{"/a?: misses 1 of 1 chunk, first 3,02: no server has the chunk\n", "and 2 more\n", "1 file misses chunks: upload",
				"No file refers to 102 chunks, 120 KiB; 0 of them", "No file refers to 1 chunk younger than 10m0s.", "2 chunks are being uploaded"},
			[]string{"volume 4 was not listed: away\n"},
			"fs.verify: not clean: 1 file misses chunks, 102 leaked chunks, 1 thing could not be looked at, so nothing was fixed"},
		{"json", "fs.verify -fix -moveDangling -json", `{"dangling":{"path":"/a","missing":1,"chunks":1,"fid":"3,02","reason":"r","movedTo":"/b"}}` + clean,
			"fix=true&graceSeconds=600&moveDangling=true", []string{`{"clean":true,"namespace":"","volumes":1,`,
				`"danglingFiles":[{"path":"/a","missing":1,"chunks":1,"fid":"3,02","reason":"r","movedTo":"/b"}],"leakedChunks":[],"problems":[]}`}, nil, ""},
		{"broken off", "fs.verify", `{"progress":{"phase":"list"}}`, "graceSeconds=600", nil, nil, "has broken off"},
	} {
		t.Run(c.name, func(t *testing.T) {
			query := ""
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				query = r.Method + " " + r.URL.RequestURI()
				fmt.Fprint(w, c.answer)
			}))
			defer server.Close()
			f, err := filer.New(filer.Config{Address: strings.TrimPrefix(server.URL, "http://")})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var out, errs bytes.Buffer
			err = New(Config{Filer: f, Out: &out, Err: &errs}).Run(t.Context(), c.line)
			if (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
				t.Errorf("%v, want %q", err, c.failure)
			}
			if want := "POST /.weed/verify?" + c.query; query != want {
				t.Errorf("asked %s, want %s", query, want)
			}
			for _, piece := range c.want {
				if !strings.Contains(out.String(), piece) {
					t.Errorf("%q is missing in\n%s", piece, out.String())
				}
			}
			for _, piece := range c.wantErr {
				if !strings.Contains(errs.String(), piece) {
					t.Errorf("%q is missing in\n%s", piece, errs.String())
				}
			}
		})
	}
	for _, line := range []string{"fs.verify -grace=x", "fs.verify -grace=-1s", "fs.verify -moveDangling", "fs.verify /x"} {
		if err := New(Config{}).Run(t.Context(), line); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
