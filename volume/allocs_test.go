//go:build !race

package volume

import (
	"testing"
	"time"
)

// The hot paths live on pooled memory. (Under the race detector pools forget on purpose.)
func TestHotPathsHardlyAllocate(t *testing.T) {
	s := prepared(t, Config{}, time.Now)
	body, mime := form("picture.jpg", noise(1024, 1), "Content-Type", "image/jpeg")
	put, get := request("POST", fid, body, "Content-Type", mime), request("GET", fid, "")
	if n := testing.AllocsPerRun(200, func() { put.Response.Reset(); s.handle(put) }); n > 5 || put.Response.StatusCode() != 201 {
		t.Errorf("PUT: %v allocations, status %d", n, put.Response.StatusCode())
	}
	if n := testing.AllocsPerRun(200, func() { get.Response.Reset(); s.handle(get) }); n > 2 || get.Response.StatusCode() != 200 {
		t.Errorf("GET: %v allocations, status %d", n, get.Response.StatusCode())
	}
}
