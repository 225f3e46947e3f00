package master

import (
	"crypto/rand"
	"encoding/binary"
	"sync"

	"weed/internal/blob"
)

// cookies draws 32 random bits at a time from a buffer of the system's generator, so that one costs some
// nanoseconds.
type cookies struct {
	mu   sync.Mutex
	left []byte
	buf  [4096]byte
}

func (c *cookies) next() blob.Cookie {
	c.mu.Lock()
	if len(c.left) < 4 {
		_, _ = rand.Read(c.buf[:]) // never fails: it ends the process instead
		c.left = c.buf[:]
	}
	v := binary.LittleEndian.Uint32(c.left)
	c.left = c.left[4:]
	c.mu.Unlock()
	return blob.Cookie(v)
}
