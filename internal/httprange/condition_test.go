package httprange

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// modified is Sun, 06 Nov 1994 08:49:37 GMT.
const modified = 784111777

const (
	now    = "Sun, 06 Nov 1994 08:49:37 GMT"
	before = "Sun, 06 Nov 1994 08:49:36 GMT"
	after  = "Sun, 06 Nov 1994 08:49:38 GMT"
)

// values are the fields of a request by short names.
func conditions(values map[string]string) Conditions {
	get := func(name string) []byte { return []byte(values[name]) }
	return Conditions{IfMatch: get("If-Match"), IfNoneMatch: get("If-None-Match"), IfModifiedSince: get("If-Modified-Since"),
		IfUnmodifiedSince: get("If-Unmodified-Since"), IfRange: get("If-Range"), Range: get("Range")}
}

func TestEvaluate(t *testing.T) {
	type fields = map[string]string
	for _, c := range []struct {
		what, method string
		fields       fields
		etag         string
		modified     int64
		want         Outcome
	}{
		{"nothing asked", "GET", nil, `"a"`, modified, Full},
		{"range alone", "GET", fields{"Range": "bytes=0-1"}, `"a"`, modified, Partial},
		{"range with HEAD", "HEAD", fields{"Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"range with PUT", "PUT", fields{"Range": "bytes=0-1"}, `"a"`, modified, Full},

		{"If-Match holds", "PUT", fields{"If-Match": `"x", "a"`}, `"a"`, modified, Full},
		{"If-Match fails", "PUT", fields{"If-Match": `"x"`}, `"a"`, modified, PreconditionFailed},
		{"If-Match fails for GET too", "GET", fields{"If-Match": `"x"`}, `"a"`, modified, PreconditionFailed},
		{"If-Match is strong: weak tag sent", "PUT", fields{"If-Match": `W/"a"`}, `"a"`, modified, PreconditionFailed},
		{"If-Match is strong: weak tag held", "PUT", fields{"If-Match": `"a"`}, `W/"a"`, modified, PreconditionFailed},
		{"If-Match any", "PUT", fields{"If-Match": ` * `}, `"a"`, modified, Full},
		{"If-Match any of nothing", "PUT", fields{"If-Match": `*`}, "", 0, PreconditionFailed},
		{"If-Match tag of nothing", "PUT", fields{"If-Match": `""`}, "", 0, PreconditionFailed},
		{"If-Match malformed", "PUT", fields{"If-Match": `a`}, `"a"`, modified, PreconditionFailed},

		{"If-Unmodified-Since holds", "PUT", fields{"If-Unmodified-Since": now}, `"a"`, modified, Full},
		{"If-Unmodified-Since fails", "GET", fields{"If-Unmodified-Since": before}, `"a"`, modified, PreconditionFailed},
		{"If-Unmodified-Since malformed", "PUT", fields{"If-Unmodified-Since": "yesterday"}, `"a"`, modified, Full},
		{"If-Unmodified-Since without a date held", "PUT", fields{"If-Unmodified-Since": before}, `"a"`, 0, Full},
		{"If-Match overrules If-Unmodified-Since", "PUT", fields{"If-Match": `"a"`, "If-Unmodified-Since": before}, `"a"`, modified, Full},

		{"If-None-Match matches", "GET", fields{"If-None-Match": `"a"`}, `"a"`, modified, NotModified},
		{"If-None-Match matches for HEAD", "HEAD", fields{"If-None-Match": `"a"`}, `"a"`, modified, NotModified},
		{"If-None-Match matches for PUT", "PUT", fields{"If-None-Match": `"a"`}, `"a"`, modified, PreconditionFailed},
		{"If-None-Match is weak: sent", "GET", fields{"If-None-Match": `W/"a"`}, `"a"`, modified, NotModified},
		{"If-None-Match is weak: held", "GET", fields{"If-None-Match": `"a"`}, `W/"a"`, modified, NotModified},
		{"If-None-Match list", "GET", fields{"If-None-Match": `"x" ,, W/"y,z", "a"`}, `"a"`, modified, NotModified},
		{"If-None-Match other", "GET", fields{"If-None-Match": `"A", "ab", ""`}, `"a"`, modified, Full},
		{"If-None-Match any", "GET", fields{"If-None-Match": `*`}, `"a"`, modified, NotModified},
		{"If-None-Match any: create only", "PUT", fields{"If-None-Match": `*`}, `"a"`, modified, PreconditionFailed},
		{"If-None-Match any of nothing", "PUT", fields{"If-None-Match": `*`}, "", 0, Full},
		{"If-None-Match malformed", "GET", fields{"If-None-Match": `a`}, `"a"`, modified, Full},
		{"If-None-Match malformed behind the match", "GET", fields{"If-None-Match": `"a", b`}, `"a"`, modified, NotModified},
		{"If-None-Match malformed before the match", "GET", fields{"If-None-Match": `b, "a"`}, `"a"`, modified, Full},
		{"If-None-Match without comma", "GET", fields{"If-None-Match": `"a""b"`}, `"a"`, modified, Full},
		{"If-None-Match unfinished", "GET", fields{"If-None-Match": `"a`}, `"a"`, modified, Full},
		{"If-None-Match blank in a tag", "GET", fields{"If-None-Match": `"a b"`}, `"a b"`, modified, Full},
		{"If-None-Match lower-case weak", "GET", fields{"If-None-Match": `w/"a"`}, `"a"`, modified, Full},

		{"If-Modified-Since not", "GET", fields{"If-Modified-Since": now}, `"a"`, modified, NotModified},
		{"If-Modified-Since not, later", "HEAD", fields{"If-Modified-Since": after}, `"a"`, modified, NotModified},
		{"If-Modified-Since", "GET", fields{"If-Modified-Since": before}, `"a"`, modified, Full},
		{"If-Modified-Since malformed", "GET", fields{"If-Modified-Since": "0"}, `"a"`, modified, Full},
		{"If-Modified-Since without a date held", "GET", fields{"If-Modified-Since": now}, `"a"`, 0, Full},
		{"If-Modified-Since for PUT", "PUT", fields{"If-Modified-Since": now}, `"a"`, modified, Full},
		{"If-None-Match overrules If-Modified-Since", "GET", fields{"If-None-Match": `"x"`, "If-Modified-Since": now}, `"a"`, modified, Full},
		{"If-Match then If-None-Match", "GET", fields{"If-Match": `"a"`, "If-None-Match": `"a"`}, `"a"`, modified, NotModified},
		{"If-Match first", "GET", fields{"If-Match": `"x"`, "If-None-Match": `"a"`}, `"a"`, modified, PreconditionFailed},
		{"304 before range", "GET", fields{"If-None-Match": `"a"`, "Range": "bytes=0-1"}, `"a"`, modified, NotModified},

		{"If-Range tag", "GET", fields{"If-Range": ` "a" `, "Range": "bytes=0-1"}, `"a"`, modified, Partial},
		{"If-Range other tag", "GET", fields{"If-Range": `"b"`, "Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"If-Range weak tag", "GET", fields{"If-Range": `W/"a"`, "Range": "bytes=0-1"}, `W/"a"`, modified, Full},
		{"If-Range list", "GET", fields{"If-Range": `"a", "b"`, "Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"If-Range date", "GET", fields{"If-Range": now, "Range": "bytes=0-1"}, `"a"`, modified, Partial},
		{"If-Range later date", "GET", fields{"If-Range": after, "Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"If-Range earlier date", "GET", fields{"If-Range": before, "Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"If-Range without a date held", "GET", fields{"If-Range": now, "Range": "bytes=0-1"}, `"a"`, 0, Full},
		{"If-Range nonsense", "GET", fields{"If-Range": "*", "Range": "bytes=0-1"}, `"a"`, modified, Full},
		{"If-Range without Range", "GET", fields{"If-Range": `"a"`}, `"a"`, modified, Full},
		{"If-Range of nothing", "GET", fields{"If-Range": `""`, "Range": "bytes=0-1"}, "", 0, Full},
	} {
		if got := Evaluate(c.method, conditions(c.fields), c.etag, c.modified); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
}

// Where net/http follows the RFC as well, every mixture of conditions gives what http.ServeContent answers.
func TestEvaluateAsServeContent(t *testing.T) {
	tags := []string{"", `"a"`, `"b"`, `W/"a"`, "*", `"b", "a"`}
	dates := []string{"", now, before, after, "nonsense"}
	status := map[int]Outcome{200: Full, 206: Partial, 304: NotModified, 412: PreconditionFailed}
	for _, ifMatch := range tags {
		for _, ifNoneMatch := range tags {
			for _, since := range dates {
				for _, unmodified := range dates {
					for _, ifRange := range []string{"", `"a"`, `"b"`, `W/"a"`, now, after} {
						fields := map[string]string{"If-Match": ifMatch, "If-None-Match": ifNoneMatch, "If-Modified-Since": since,
							"If-Unmodified-Since": unmodified, "If-Range": ifRange, "Range": "bytes=0-1"}
						r := httptest.NewRequest("GET", "/", nil)
						for name, value := range fields {
							if value != "" {
								r.Header.Set(name, value)
							}
						}
						w := httptest.NewRecorder()
						w.Header().Set("ETag", `"a"`)
						http.ServeContent(w, r, "x.txt", time.Unix(modified, 0), strings.NewReader("content"))
						want, ok := status[w.Code]
						if got := Evaluate("GET", conditions(fields), `"a"`, modified); !ok || got != want {
							t.Fatalf("%v: got %d, net/http answers %d", fields, got, w.Code)
						}
					}
				}
			}
		}
	}
}

var (
	tagPattern  = `(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"`
	listPattern = regexp.MustCompile(`^(?:[ \t,]*` + tagPattern + `[ \t]*(?:,|$))*[ \t,]*$`)
	oneTag      = regexp.MustCompile(tagPattern)
)

// latin1 gives each byte a rune of its own, since patterns match runes.
func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// FuzzIfNoneMatch holds the list parser against the grammar of RFC 9110 as a regular expression.
func FuzzIfNoneMatch(f *testing.F) {
	for _, list := range []string{`"a"`, `W/"a"`, `*`, `"b" ,, W/"y,z", "a"`, `"a""b"`, `a, "a"`, `"`, `""`, `,`, "\"\xff\", \"a\""} {
		f.Add([]byte(list), `"a"`)
	}
	f.Add([]byte(`""`), ``)
	f.Fuzz(func(t *testing.T, list []byte, etag string) {
		got := matches(list, etag, weak)
		if matches(list, etag, strong) && !got {
			t.Fatal("matches strongly but not weakly")
		}
		text := latin1(list)
		if !listPattern.MatchString(text) {
			if got && strings.Trim(text, " \t") != "*" && !strings.Contains(string(list), strings.TrimPrefix(etag, "W/")) {
				t.Fatalf("%q matches %q", list, etag)
			}
			return
		}
		want := false
		for _, tag := range oneTag.FindAllString(text, -1) {
			want = want || strings.TrimPrefix(tag, "W/") == latin1([]byte(strings.TrimPrefix(etag, "W/")))
		}
		if got != want {
			t.Fatalf("%q against %q: %v", list, etag, got)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	for _, c := range []struct {
		name string
		Conditions
	}{
		{"none", Conditions{}},
		{"etag", Conditions{IfNoneMatch: []byte(`"5b9a4a9c"`)}},
		{"date", Conditions{IfModifiedSince: []byte(now)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if Evaluate("GET", c.Conditions, `"5b9a4a9d"`, modified+1) != Full {
					b.Fatal("not full")
				}
			}
		})
	}
}
