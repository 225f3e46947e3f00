package volume

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
)

const (
	// retryDelay is how soon a heartbeat that no master answered is tried again.
	retryDelay = 500 * time.Millisecond
	// minBeatTimeout and maxBeatTimeout bound one heartbeat. It gets one pulse, so that a leader that hangs is left
	// before its successor takes this server for silent, and twice as long after each that was in vain, so that
	// a leader that is only slow gets to answer.
	minBeatTimeout, maxBeatTimeout = time.Second, 10 * time.Second
	// leaveTimeout bounds the last one, so that a dead master does not hold up the shutdown.
	leaveTimeout = 2 * time.Second
	// knownTimeout bounds how long a put that is refused waits for the master to hear why.
	knownTimeout = time.Second
	// maxSpaceInterval bounds how long nobody looks at the room on the disks.
	maxSpaceInterval = time.Second
)

// heartbeat tells the leading master what is here: everything at first, then what has changed. It owns the
// goroutine that run is called on.
type heartbeat struct {
	s    *Server
	wake chan struct{} // capacity 1: something changed that the master should hear of at once

	registered atomic.Bool
	current    atomic.Pointer[string]                     // the master to turn to
	known      atomic.Pointer[map[uint32]wire.VolumeInfo] // told, once the leader has taken it in; never changed
	lastKey    atomic.Uint64                              // the highest key that masters give out, 0 if none has said so

	mu      sync.Mutex    // guards learned
	learned chan struct{} // closed and replaced when known is

	// Owned by run.
	masters     []string // in the order to try, the last that answered first
	incarnation uint64
	sequence    uint64
	full        bool                       // the next one says everything
	told        map[uint32]wire.VolumeInfo // what the master knows
	pulse       time.Duration              // until the next one: what the master asks for, the configured one at most
	timeout     time.Duration              // of the next one
}

func newHeartbeat(s *Server) *heartbeat {
	h := &heartbeat{
		s:           s,
		wake:        make(chan struct{}, 1),
		masters:     append([]string(nil), s.cfg.Masters...),
		incarnation: rand.Uint64(),
		full:        true,
		told:        map[uint32]wire.VolumeInfo{},
		pulse:       s.cfg.Pulse,
		timeout:     beatTimeout(s.cfg.Pulse),
		learned:     make(chan struct{}),
	}
	h.known.Store(&map[uint32]wire.VolumeInfo{})
	h.current.Store(&h.masters[0])
	return h
}

func beatTimeout(wish time.Duration) time.Duration {
	return min(max(wish, minBeatTimeout), maxBeatTimeout)
}

// kick asks for a heartbeat at once.
func (h *heartbeat) kick() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// run beats until ctx ends, and says goodbye then.
func (h *heartbeat) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	hurried := false // the last one was sent because a master wanted more
	for {
		select {
		case <-ctx.Done():
			h.leave()
			return
		case <-timer.C:
		case <-h.wake:
		}
		answered := h.beat(ctx)
		wait := h.pulse
		switch {
		case answered && !h.full:
			hurried = false
		case answered && !hurried: // the master asks for everything, or names another one
			wait, hurried = 0, true
		default: // nobody answers, or masters that never have enough
			wait = min(wait, retryDelay)
		}
		timer.Reset(wait)
	}
}

// beat sends one heartbeat to the first master that takes it.
func (h *heartbeat) beat(ctx context.Context) (answered bool) {
	message, now := h.compose()
	for range len(h.masters) {
		master := h.masters[0]
		var reply wire.HeartbeatReply
		call, cancel := context.WithTimeout(ctx, h.timeout)
		err := h.s.client.PostJSON(call, master, wire.PathHeartbeat, message, &reply)
		cancel()
		if err == nil {
			h.answered(master, now, &reply)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if errors.Is(err, context.DeadlineExceeded) {
			h.timeout = beatTimeout(2 * h.timeout)
		}
		if h.registered.Swap(false) || h.sequence == 1 {
			h.logFailure(master, err)
		}
		h.masters = append(h.masters[1:], master)
		h.current.Store(&h.masters[0])
		h.full = true // another master, or the same one in a new life, knows nothing of this server
		message, now = h.compose()
	}
	return false
}

// logFailure says why a master did not take a heartbeat. Only for a refusal there is something to do here.
func (h *heartbeat) logFailure(master string, err error) {
	var refused *client.StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		h.s.cfg.Logger.Error("master refuses this server", "master", master, "reason", refused.Message)
		return
	}
	h.s.cfg.Logger.Warn("master does not answer", "master", master, "error", err)
}

// compose makes the next heartbeat, and the state that the master knows once it has answered.
func (h *heartbeat) compose() (*wire.Heartbeat, map[uint32]wire.VolumeInfo) {
	s := h.s
	h.sequence++
	message := &wire.Heartbeat{
		URL: s.cfg.URL, PublicURL: s.cfg.PublicURL, DataCenter: s.cfg.DataCenter, Rack: s.cfg.Rack,
		Incarnation: h.incarnation, Sequence: h.sequence, Full: h.full,
	}
	for _, d := range s.store.Directories() {
		message.Max += d.MaxVolumes
	}
	now := map[uint32]wire.VolumeInfo{}
	for _, v := range s.store.Volumes() {
		info := s.volumeInfo(v)
		now[info.ID] = info
		if before, known := h.told[info.ID]; h.full || !known || before != info {
			message.Volumes = append(message.Volumes, info)
		}
	}
	if !h.full {
		for id := range h.told {
			if _, here := now[id]; !here {
				message.Gone = append(message.Gone, id)
			}
		}
	}
	return message, now
}

// answered takes in what a master replied.
func (h *heartbeat) answered(master string, now map[uint32]wire.VolumeInfo, reply *wire.HeartbeatReply) {
	h.told = now
	h.full = reply.Resend
	if limit := reply.VolumeSizeLimitBytes; limit > 0 {
		if err := h.s.store.SetSizeLimit(int64(min(limit, math.MaxInt64))); err != nil {
			h.s.cfg.Logger.Error("size limit of volumes will not outlive a restart", "error", err)
		}
	}
	if reply.LastKey > h.lastKey.Load() { // only answered stores it
		h.lastKey.Store(reply.LastKey)
	}
	for _, c := range reply.Configs {
		h.s.configured(c)
	}
	h.pulse = h.s.cfg.Pulse
	if reply.PulseMillis > 0 {
		h.pulse = min(h.pulse, time.Duration(reply.PulseMillis)*time.Millisecond)
	}
	h.learn(reply.Masters)
	if reply.Leader != "" && reply.Leader != master {
		h.follow(reply.Leader)
		return
	}
	h.timeout = beatTimeout(h.pulse)
	if reply.Resend {
		return
	}
	if !h.registered.Swap(true) {
		h.s.cfg.Logger.Info("registered", "master", master, "volumes", len(now))
	}
	h.known.Store(&now)
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.learned)
	h.learned = make(chan struct{})
}

// tell asks for a heartbeat unless the master knows already that a volume takes no puts.
func (h *heartbeat) tell(id blob.VolumeID) {
	if !(*h.known.Load())[uint32(id)].ReadOnly {
		h.kick()
	}
}

// awaitKnown waits until the master knows that a volume takes no puts, so that whoever is refused one and asks
// for another fid gets it elsewhere.
func (h *heartbeat) awaitKnown(id blob.VolumeID) {
	h.await(func() bool { return (*h.known.Load())[uint32(id)].ReadOnly })
}

// await waits until the master has learned something, or all that is here now. It does not wait for a master that is
// away, and not for long.
func (h *heartbeat) await(learnedIt func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), knownTimeout)
	defer cancel()
	for range 2 { // the first that is answered may have been made before
		h.mu.Lock()
		learned := h.learned
		h.mu.Unlock()
		if learnedIt() || !h.registered.Load() {
			return
		}
		h.kick()
		select {
		case <-learned:
		case <-ctx.Done():
			return
		}
	}
}

// postReport tells the master what is here now.
func (s *Server) postReport(ctx *fasthttp.RequestCtx) {
	s.beat.await(func() bool { return false })
	httpx.JSON(ctx, fasthttp.StatusOK, struct{}{})
}

// watchSpace looks at the room on the disks until ctx ends, whether masters answer or not.
func (s *Server) watchSpace(ctx context.Context) {
	ticker := time.NewTicker(min(s.cfg.Pulse, maxSpaceInterval))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if s.store.CheckSpace() {
			s.beat.kick()
		}
	}
}

// leader returns the master that answered last.
func (h *heartbeat) leader() string { return *h.current.Load() }

// learn makes the masters to try, after the one that answered, those that it names, then those configured: the
// same master may be among these under another name.
func (h *heartbeat) learn(masters []string) {
	if len(masters) == 0 {
		return
	}
	known := h.masters[:1:1]
	for _, m := range slices.Concat(masters, h.s.cfg.Masters) {
		if !slices.Contains(known, m) {
			known = append(known, m)
		}
	}
	h.masters = known
}

// follow makes the leader the first to try.
func (h *heartbeat) follow(leader string) {
	masters := []string{leader}
	for _, m := range h.masters {
		if m != leader {
			masters = append(masters, m)
		}
	}
	h.masters = masters
	h.current.Store(&masters[0])
	h.full = true
}

// leave tells the master that this server stops, so that nobody is sent here any more.
func (h *heartbeat) leave() {
	if !h.registered.Swap(false) {
		return
	}
	message, _ := h.compose()
	message.Leaving = true
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := h.s.client.PostJSON(ctx, h.masters[0], wire.PathHeartbeat, message, nil); err != nil {
		h.s.cfg.Logger.Info("master was not told that this server stops", "master", h.masters[0], "error", err)
	}
}
