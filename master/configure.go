package master

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/master/state"
)

// maxSwaps bounds the changes of groups in one entry of the Raft log.
const maxSwaps = 1024

// swaps collects the changes of groups that volume servers ask for one by one: those that come while an entry is on
// its way share the next. After the death of a server there are hundreds at once.
type swaps struct {
	due chan struct{} // a send says that some wait

	proposing sync.Mutex // held while an entry is on its way

	mu      sync.Mutex
	waiting []*swap
}

// settle waits for what is on its way.
func (s *swaps) settle() {
	s.proposing.Lock()
	defer s.proposing.Unlock()
}

// swap is one change on its way.
type swap struct {
	change  state.GroupChange
	done    chan struct{}
	outcome state.Outcome // set before done is closed, as is err
	err     error
}

// take returns the changes of the next entry, which names each volume once. What is left waits on.
func (s *swaps) take() (some []*swap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[blob.VolumeID]bool{}
	s.waiting = slices.DeleteFunc(s.waiting, func(w *swap) bool {
		if named[w.change.ID] || len(some) == maxSwaps {
			return false
		}
		named[w.change.ID] = true
		some = append(some, w)
		return true
	})
	if len(s.waiting) > 0 {
		kick(s.due)
	}
	return some
}

// carryOutSwaps puts the changes that wait through Raft, until the term ends.
func (t *term) carryOutSwaps() {
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-t.swaps.due:
		}
		if some := t.swaps.take(); len(some) > 0 {
			t.proposeSwaps(some)
			kick(t.settlingDue)
			kick(t.copies.due)
		}
	}
}

// proposeSwaps puts changes through Raft as one entry.
func (t *term) proposeSwaps(some []*swap) {
	t.swaps.proposing.Lock()
	defer t.swaps.proposing.Unlock()
	var sent []*swap
	var changes []state.GroupChange
	var ids []blob.VolumeID
	for _, s := range some {
		if v, ok := t.machine.Volume(s.change.ID); ok && t.copies.vetoes(v, &s.change.Group) {
			s.outcome.Volume = v
			close(s.done)
			continue
		}
		sent, changes, ids = append(sent, s), append(changes, s.change), append(ids, s.change.ID)
	}
	if len(sent) == 0 {
		return
	}
	outcomes, err := propose(t.ctx, t.store, state.Reconfigure(changes))
	t.sync(ids...)
	won := 0
	for i, s := range sent {
		if s.err = err; err == nil {
			s.outcome = outcomes[i]
			if s.outcome.Err == nil {
				won++
				t.warnOfPlacement(s.outcome.Volume)
			}
		}
		close(s.done)
	}
	if err != nil {
		t.log.Warn("could not change who holds volumes", "volumes", len(sent), "err", err)
		return
	}
	t.log.Info("volume servers have changed who holds volumes", "asked", len(sent), "done", won)
}

// swap replaces the group of a volume, together with what else is waiting, and returns the record in force. The
// error is errNotFound, ErrNoServer, or that of a proposal.
func (t *term) swap(change state.GroupChange) (*state.Volume, error) {
	s := &swap{change: change, done: make(chan struct{})}
	t.swaps.mu.Lock()
	t.swaps.waiting = append(t.swaps.waiting, s)
	t.swaps.mu.Unlock()
	kick(t.swaps.due)
	select {
	case <-s.done:
	case <-t.ctx.Done():
		return nil, t.ctx.Err()
	}
	switch {
	case s.err != nil:
		return nil, s.err
	case s.outcome.Volume == nil:
		return nil, fmt.Errorf("volume %d %w", change.ID, errNotFound)
	case s.outcome.Err != nil && !isConflict(s.outcome.Err):
		return nil, s.outcome.Err
	}
	return s.outcome.Volume, nil
}

// serveConfigure answers POST /internal/volume/configure: a volume server asks for the next configuration of a
// volume, and learns which one is in force.
func (m *Master) serveConfigure(ctx *fasthttp.RequestCtx) {
	if !httpx.Allow(ctx, fasthttp.MethodPost) {
		return
	}
	t := m.leading()
	if t == nil {
		m.passOn(ctx)
		return
	}
	body, err := httpx.ReadBody(ctx, m.beats, formLimit)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	var order wire.VolumeConfig
	err = json.Unmarshal(body.Bytes, &order)
	body.Release()
	if err != nil {
		httpx.Error(ctx, fasthttp.StatusBadRequest, "malformed configuration: "+err.Error())
		return
	}
	v, err := t.configure(&order)
	if err != nil {
		m.fail(ctx, err)
		return
	}
	httpx.JSON(ctx, fasthttp.StatusOK, configOf(v))
}

// configure replaces a volume's configuration by the one that is asked for, if that is the next, and returns the
// record in force. Only a change that can succeed goes through Raft.
func (t *term) configure(order *wire.VolumeConfig) (*state.Volume, error) {
	change := state.GroupChange{ID: blob.VolumeID(order.ID), Epoch: order.Epoch - 1,
		Group: state.Group{Primary: state.ServerID(order.Primary)}}
	for _, member := range order.Members {
		change.Members = append(change.Members, state.ServerID(member))
	}
	if err := change.Check(); err != nil {
		return nil, err
	}
	v, ok := t.machine.Volume(change.ID)
	switch {
	case !ok:
		return nil, fmt.Errorf("volume %d %w", change.ID, errNotFound)
	case v.Epoch != change.Epoch: // it has been done, or another has
		return v, nil
	}
	return t.swap(change)
}

// configOf is a record as volume servers are told it.
func configOf(v *state.Volume) *wire.VolumeConfig {
	c := &wire.VolumeConfig{ID: uint32(v.ID), Epoch: v.Epoch, Primary: string(v.Primary), Copies: v.Copies(),
		Members: make([]string, len(v.Members))}
	for i, member := range v.Members {
		c.Members[i] = string(member)
	}
	return c
}

// maxConfigs bounds the configurations in the answer to one heartbeat.
const maxConfigs = 4096

// configsFor returns the configurations of volumes of which a server has reported an older epoch.
func (t *term) configsFor(server string) (configs []wire.VolumeConfig) {
	for _, id := range t.tree.Outdated(server, maxConfigs) {
		if v, ok := t.machine.Volume(id); ok {
			configs = append(configs, *configOf(v))
		}
	}
	return configs
}
