package httpx

import (
	"bytes"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/httprange"
)

// dateField comes before the date in the head of an answer.
var dateField = []byte("\r\nDate: ")

// A datedHead is an answer's head as it would go out now. fasthttp writes Date by itself, and that is the only
// way to see it.
type datedHead struct {
	header fasthttp.ResponseHeader
	text   []byte
}

var datedHeads = sync.Pool{New: func() any { return new(datedHead) }}

// Date returns the time that the Date field of an answer would show now, in unix seconds. It lags the clock by
// up to a second or so and never goes back while the clock does not, so that what is dated by it lies in the
// future of no answer (RFC 9110 section 8.8.2.1 wants that of Last-Modified).
func Date() (unixSeconds int64) {
	h := datedHeads.Get().(*datedHead)
	defer datedHeads.Put(h)
	h.text = h.header.AppendBytes(h.text[:0])
	if _, date, ok := bytes.Cut(h.text, dateField); ok {
		date, _, _ = bytes.Cut(date, []byte("\r\n"))
		if unixSeconds, ok = httprange.ParseDate(date); ok {
			return unixSeconds
		}
	}
	return time.Now().Unix()
}
