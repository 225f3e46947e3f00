package httpx

import (
	"net/http"
	"testing"
	"time"
)

// TestDate compares with what goes out, for longer than a second: the field changes somewhere in between.
func TestDate(t *testing.T) {
	s := start(t, Config{Handler: hello})
	c := dial(t, s.addr)
	for began, last := time.Now(), int64(0); time.Since(began) < 1200*time.Millisecond; {
		before := Date()
		r := c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").read("GET")
		after := Date()
		sent, err := http.ParseTime(r.Header.Get("Date"))
		if err != nil || sent.Unix() < before || sent.Unix() > after || before < last {
			t.Fatalf("Date %v, %v; %d before and %d after, %d earlier", sent, err, before, after, last)
		}
		last = after
	}
	if lag := time.Now().Unix() - Date(); lag < 0 || lag > 60 {
		t.Errorf("the date lags %d s", lag)
	}
}

func BenchmarkDate(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Date()
	}
}
