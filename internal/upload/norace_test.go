//go:build !race

package upload

import "testing"

// TestGunzipAllocates counts on the pool, of which the race detector makes a random one.
func TestGunzipAllocates(t *testing.T) {
	src := logLines(4096)
	z, _ := Gzip(nil, src)
	buf := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Gunzip(buf, z, 8000); err != nil {
			t.Error(err)
		}
		if _, ok := Gzip(buf, src); !ok {
			t.Error("refused")
		}
	}); n >= 1 { // the pool may lose an element to a collection
		t.Errorf("%v allocations", n)
	}
}
