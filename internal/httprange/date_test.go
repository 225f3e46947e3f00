package httprange

import (
	"math"
	"net/http"
	"testing"
	"time"
)

func TestAppendDate(t *testing.T) {
	for _, unix := range []int64{0, -1, modified, 951782400, 4102444799, minDate, maxDate, 1 << 31, 68169600} {
		want := time.Unix(unix, 0).UTC().Format(http.TimeFormat)
		if got := AppendDate(nil, unix); string(got) != want {
			t.Errorf("%d: got %q, want %q", unix, got, want)
		}
	}
	for unix, want := range map[int64]string{
		math.MaxInt64: "Fri, 31 Dec 9999 23:59:59 GMT", math.MinInt64: "Mon, 01 Jan 0001 00:00:00 GMT",
	} {
		if got := AppendDate([]byte("x"), unix); string(got) != "x"+want {
			t.Errorf("%d: got %q", unix, got)
		}
	}
}

func TestParseDate(t *testing.T) {
	for text, want := range map[string]int64{
		now:                                 modified,
		"Sunday, 06-Nov-94 08:49:37 GMT":    modified,
		"Sun Nov  6 08:49:37 1994":          modified,
		"Sun Nov 16 08:49:37 1994":          modified + 10*86400,
		" " + now + "\t":                    modified,
		"Tue, 29 Feb 2000 00:00:00 GMT":     951782400,
		"Wednesday, 01-Jan-69 00:00:00 GMT": -31536000,
		"Sunday, 01-Jan-68 00:00:00 GMT":    3092601600,
	} {
		if got, ok := ParseDate([]byte(text)); !ok || got != want {
			t.Errorf("%q: got %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "0", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 EST",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Wed, 29 Feb 2001 00:00:00 GMT", "Sun, 06 nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:60 GMT", "Sun, 06 Nov 1994 08:49:3x GMT",
		"Xyz, 06 Nov 1994 08:49:37 GMT", "Sun, 06-Nov-1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 EST", "1994-11-06T08:49:37Z",
		"Sun,x06 Nov 1994 08:49:37 GMT", "784111777",
	} {
		if got, ok := ParseDate([]byte(text)); ok {
			t.Errorf("%q: got %d", text, got)
		}
	}
}

// FuzzDate holds ParseDate against http.ParseTime, and both directions against each other.
func FuzzDate(f *testing.F) {
	for _, text := range []string{now, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Tue, 29 Feb 2000 00:00:00 GMT"} {
		f.Add([]byte(text), int64(modified))
	}
	f.Fuzz(func(t *testing.T, text []byte, unix int64) {
		got, ok := ParseDate(text)
		want, err := http.ParseTime(string(trimBlanks(text)))
		if ok && (err != nil || got != want.Unix()) {
			t.Fatalf("%q: got %d, net/http %v %v", text, got, want, err)
		}
		clamped := min(max(unix, minDate), maxDate)
		if back, ok := ParseDate(AppendDate(nil, unix)); !ok || back != clamped {
			t.Fatalf("%d comes back as %d %v", unix, back, ok)
		}
	})
}

func TestDatesAllocate(t *testing.T) {
	buf, in := make([]byte, 0, 64), []byte(now)
	if n := testing.AllocsPerRun(100, func() {
		AppendDate(buf, modified)
		ParseDate(in)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendDate(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		AppendDate(buf, modified)
	}
}

func BenchmarkParseDate(b *testing.B) {
	in := []byte(now)
	b.ReportAllocs()
	for b.Loop() {
		ParseDate(in)
	}
}
