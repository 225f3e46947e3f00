package volume

import (
	"errors"
	"sync"
	"time"

	"weed/internal/blob"
	"weed/storage"
)

// cookieChecks bounds, per second, how often other servers are asked whether the cookie of a blob is right here: who
// guesses cookies gets no more work done than that.
const cookieChecks = 100

// allowance lets something happen so often per second, and so often at once after a pause.
type allowance struct {
	mu   sync.Mutex
	used time.Time // up to when it is used up
}

// take reports whether it may happen now.
func (a *allowance) take(perSecond int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.used.Before(now.Add(-time.Second)) {
		a.used = now.Add(-time.Second)
	}
	next := a.used.Add(time.Second / time.Duration(perSecond))
	if next.After(now) {
		return false
	}
	a.used = next
	return true
}

// healAfter mends what an operation on a blob has failed for, if that was damage, be it one that looks like another
// cookie than the blob's. It reports whether the operation is to be tried again.
func (s *Server) healAfter(v *storage.Volume, p *blob.Path, err error) bool {
	switch {
	case err == nil || s.node.Replica(p.Volume) == nil:
		return false
	case isDamage(err):
		return s.heal(v, p.Key)
	case errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrCookie):
		return s.healCookie(v, p)
	}
	return false
}

// healCookie mends the record of a blob that has another cookie here than a client says, if it is the client's in
// another copy: no checksum covers the cookie, and nobody guesses one that differs by a bit.
func (s *Server) healCookie(v *storage.Volume, p *blob.Path) bool {
	offset, differs := v.CookieDiffers(p.Key, p.Cookie)
	if !differs || !s.cookiePace.take(cookieChecks) {
		return false
	}
	end, err := s.settledEnd(v)
	if err != nil || offset >= end {
		return false
	}
	for _, other := range s.othersOf(v.ID()) {
		from := s.logOf(other, v)
		if same, err := storage.HasCookie(from, offset, p.Key, p.Cookie); err != nil || !same {
			continue
		}
		mended, err := v.Mend(offset, end, from)
		if err == nil && mended.Changed == 0 {
			return true // another request was faster
		}
		s.scrub.found.Add(1)
		if err != nil {
			s.cfg.Logger.Error("the cookie of a blob is damaged, and is not mended", "volume", v.ID(), "offset", offset, "error", err)
			continue
		}
		s.scrub.noteMended(v.ID(), offset)
		s.cfg.Logger.Warn("a record with a damaged cookie was replaced by that of another copy", "volume", v.ID(), "offset", offset,
			"bytes", mended.Length, "from", other)
		return true
	}
	return false
}
