package master

import (
	"context"
	"errors"
	"syscall"
	"time"

	"weed/client"
	"weed/internal/wire"
	"weed/master/state"
	"weed/topology"
)

// silentPulses is the number of pulses after which topology takes a silent server out.
const silentPulses = 3

// expireServers takes servers out that have fallen silent. A tick that comes late says that this process
// stood still, not that the servers did: they get the time to be heard.
func (t *term) expireServers() {
	every := max(t.cfg.Pulse/4, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	var patienceUntil time.Time
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > t.cfg.Pulse+every {
			patienceUntil = now.Add(2 * t.cfg.Pulse)
		}
		if last = now; now.Before(patienceUntil) {
			continue
		}
		for _, at := range t.tree.Expire(t.deps.Now()) {
			t.log.Warn("volume server is silent: its volumes are not assigned to", "server", at.URL,
				"dataCenter", at.DataCenter, "rack", at.Rack)
		}
	}
}

// askUnheard asks the servers that were there before this term, and that have not reported in it, whether they
// are up, until there are none. The term before may have been about to find one silent: waiting for three pulses
// once more, at each change of leadership, would have clients sent to it for long.
func (t *term) askUnheard() {
	pause := time.NewTicker(max(t.cfg.Pulse/4, time.Millisecond))
	defer pause.Stop()
	for t.tree.Unheard() > 0 {
		var urls []string
		for s := range t.machine.View().Servers() {
			if t.unheard(string(s.ID)) {
				urls = append(urls, string(s.ID))
			}
		}
		each(len(urls), func(i int) {
			if t.unheard(urls[i]) && !t.mayBeUp(urls[i]) {
				t.giveUp(urls[i])
			}
		})
		select {
		case <-t.ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// unheard reports whether a server is only assumed to be there.
func (t *term) unheard(server string) bool {
	p := t.tree.Presence(0, server)
	return p.Here && !p.Heard
}

// mayBeUp asks a server whether it is up. One that answers is, whatever it says. One whose port nobody listens
// on is not, and one that does not answer is not when it has had a pulse and a half to report: those that are
// well do so within one.
func (t *term) mayBeUp(server string) bool {
	ctx, cancel := context.WithTimeout(t.ctx, max(t.cfg.Pulse/2, 100*time.Millisecond))
	defer cancel()
	err := t.client.GetJSON(ctx, server, "/healthz", nil)
	var answered *client.StatusError
	switch {
	case err == nil, errors.As(err, &answered), t.ctx.Err() != nil:
		return true
	case errors.Is(err, syscall.ECONNREFUSED):
		return false
	}
	return t.warming()
}

// giveUp has a server expire that is only assumed to be there. One that has reported meanwhile stays.
func (t *term) giveUp(server string) {
	known, ok := t.machine.Server(state.ServerID(server))
	if !ok {
		return
	}
	// A goodbye in its name takes its copies away, unless it has been heard. What is left is a server that
	// was seen last so long ago that it expires.
	out, err := t.tree.Heartbeat(t.deps.Now(), &wire.Heartbeat{URL: server, Leaving: true})
	if err != nil || !out.Left {
		return
	}
	at := topology.Location{URL: server, PublicURL: known.PublicURL, DataCenter: known.DataCenter, Rack: known.Rack}
	t.tree.Assume(t.deps.Now().Add(-silentPulses*t.cfg.Pulse), at, 0)
	t.log.Info("volume server has not reported to this leader and does not answer", "server", server)
}
