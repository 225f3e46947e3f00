package httpx

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

func TestJSON(t *testing.T) {
	s := start(t, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/error":
			Error(ctx, 404, "no \"x\"\n<here>")
		case "/broken":
			JSON(ctx, 200, func() {})
		default:
			JSON(ctx, 201, map[string]any{"url": "a?b&c=<d>", "n": 1})
		}
	}})
	c := dial(t, s.addr)
	for target, want := range map[string]string{
		"/":               `{"n":1,"url":"a?b&c=<d>"}`,
		"/?pretty=y":      "{\n  \"n\": 1,\n  \"url\": \"a?b&c=<d>\"\n}",
		"/?pretty=n":      `{"n":1,"url":"a?b&c=<d>"}`,
		"/error":          `{"error":"no \"x\"\n\u003chere\u003e"}`,
		"/error?pretty=y": "{\n  \"error\": \"no \\\"x\\\"\\n\\u003chere\\u003e\"\n}",
	} {
		r := c.send("GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n").read("GET")
		if r.body != want || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q as %q, want %q", target, r.body, r.Header.Get("Content-Type"), want)
		}
	}
	c.send("GET /broken HTTP/1.1\r\nHost: h\r\n\r\n").read("GET").want(t, 500)
}

func TestErrorTable(t *testing.T) {
	for err, want := range map[error]int{
		ErrTooLarge: 413, ErrBusy: 429, ErrBodyTimeout: 408, fmt.Errorf("wrapped: %w", ErrBodyBroken): 400,
	} {
		status, text, ok := StatusOf(err)
		if status != want || text == "" || !ok {
			t.Errorf("%v: %d %q %v", err, status, text, ok)
		}
	}
	if _, _, ok := StatusOf(errors.New("other")); ok {
		t.Error("a foreign error is known")
	}
	if Fail(&fasthttp.RequestCtx{}, errors.New("other")) {
		t.Error("a foreign error was answered")
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "\x00\n\x7f", "ä\u2028", "\xff<>&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := AppendString([]byte("x"), text)
		var got string
		if err := json.Unmarshal(b[1:], &got); err != nil || b[0] != 'x' {
			t.Fatalf("%q: %v", b, err)
		}
		if utf8.ValidString(text) && got != text {
			t.Fatalf("%q became %q", text, got)
		}
		if !strings.HasPrefix(string(b[1:]), `"`) {
			t.Fatalf("%q is no string", b)
		}
	})
}
