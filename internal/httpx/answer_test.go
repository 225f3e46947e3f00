package httpx

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	errKnown, errOwn, errLoud, errOther := errors.New("known"), errors.New("own words"), errors.New("loud"), errors.New("secret")
	table := ErrorTable{
		{Kind: errKnown, Status: 503, Text: "try again", RetryAfterSeconds: 7},
		{Kind: errKnown, Status: 418, Text: "the second row of a kind"},
		{Kind: errOwn, Status: 404},
		{Kind: errLoud, Status: 500, Text: "see the log", Logged: true},
		{Kind: ErrBusy, Status: 418, Text: "not for the table to say"},
	}
	for _, c := range []struct {
		err        error
		status     int
		text       string // that the answer holds
		retryAfter string
		logged     bool
	}{
		{ErrTooLarge, 413, "send less", "", false},
		{ErrBusy, 429, "too many uploads", "1", false},
		{ErrBodyTimeout, 408, "in time", "", false},
		{fmt.Errorf("wrapped: %w", ErrBodyBroken), 400, "malformed", "", false},
		{fmt.Errorf("wrapped: %w", errKnown), 503, `{"error":"try again"}`, "7", false},
		{fmt.Errorf("wrapped: %w", errOwn), 404, `{"error":"wrapped: own words"}`, "", false},
		{errLoud, 500, `{"error":"see the log"}`, "", true},
		{errOther, 500, "its log says why", "", true},
	} {
		var log strings.Builder
		ctx := &fasthttp.RequestCtx{}
		table.Fail(ctx, slog.New(slog.NewTextHandler(&log, nil)), c.err)
		body := string(ctx.Response.Body())
		retryAfter := string(ctx.Response.Header.Peek("Retry-After"))
		if ctx.Response.StatusCode() != c.status || !strings.Contains(body, c.text) || retryAfter != c.retryAfter {
			t.Errorf("%v: %d %s, Retry-After %q", c.err, ctx.Response.StatusCode(), body, retryAfter)
		}
		if logged := strings.Contains(log.String(), c.err.Error()); logged != c.logged {
			t.Errorf("%v: the log says %q", c.err, log.String())
		}
	}
}

// TestAllow: who is refused a method does not read in Allow that it may be used.
func TestAllow(t *testing.T) {
	const reads, changes = "GET, HEAD, POST, OPTIONS", "GET, POST, OPTIONS"
	for _, c := range []struct {
		method  string
		allow   func(*fasthttp.RequestCtx, ...string) bool
		status  int // 0 when the request is let through
		allowed string
	}{
		{"GET", Allow, 0, ""}, {"HEAD", Allow, 0, ""}, {"POST", Allow, 0, ""},
		{"OPTIONS", Allow, 204, reads}, {"PUT", Allow, 405, reads}, {"get", Allow, 405, reads},
		{"GET", AllowOnly, 0, ""}, {"POST", AllowOnly, 0, ""}, {"HEAD", AllowOnly, 405, changes},
		{"OPTIONS", AllowOnly, 204, changes}, {"DELETE", AllowOnly, 405, changes},
	} {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.Header.SetMethod(c.method)
		through := c.allow(ctx, "GET", "POST")
		if through != (c.status == 0) || !through && ctx.Response.StatusCode() != c.status || string(ctx.Response.Header.Peek("Allow")) != c.allowed {
			t.Errorf("%s: %v, %d, Allow %q", c.method, through, ctx.Response.StatusCode(), ctx.Response.Header.Peek("Allow"))
		}
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
