package master

import (
	"sync"
	"time"

	"weed/topology"
)

// growOnce makes volumes for a wish and waits until one can be used. After volumes that could not, no more are made
// for a while: they would be no better.
func (t *term) growOnce(w wish) (made int, err error) {
	key := growthKey{w.key, w.pref}
	if t.idleGrowths.has(key) {
		return 0, topology.ErrNoWritable
	}
	if made, err = t.grow(w.key, w.pref, 0); err != nil {
		return 0, err
	}
	if !t.awaitSync(w) && t.tree.Syncing(w.key, w.pref) {
		t.idleGrowths.add(key)
		t.log.Error("new volumes do not come in sync: can their servers reach each other?", "layout", w.key.String(), "volumes", made)
		return 0, topology.ErrNoWritable
	}
	return made, nil
}

// idleGrowths remembers growths of the last minute whose volumes could not be used.
type idleGrowths struct {
	mu sync.Mutex
	at map[growthKey]time.Time
}

func (g *idleGrowths) has(key growthKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, at := range g.at {
		if time.Since(at) > time.Minute {
			delete(g.at, k)
		}
	}
	_, has := g.at[key]
	return has
}

func (g *idleGrowths) add(key growthKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.at == nil {
		g.at = map[growthKey]time.Time{}
	}
	g.at[key] = time.Now()
}

// syncTimeout is how long volumes are waited for whose copies are all there, but not known to be in sync in a new
// epoch.
const syncTimeout = 5 * time.Second

// awaitSync waits, while there are volumes for a wish that are about to be in sync, until one is. It is false when
// there are none, or when it takes them too long: more volumes are needed then.
func (t *term) awaitSync(w wish) bool {
	timer := time.NewTimer(syncTimeout)
	defer timer.Stop()
	for {
		heard := t.news.wait()
		if _, err := t.tree.Pick(w.key, w.pref); err == nil {
			return true
		}
		if !t.tree.Syncing(w.key, w.pref) {
			return false
		}
		select {
		case <-heard:
		case <-timer.C:
			return false
		case <-t.ctx.Done():
			return false
		}
	}
}

// awaitServers waits until all servers have reported that were there before this term, or have had the time to.
func (t *term) awaitServers() {
	timer := time.NewTimer(time.Until(t.warmUpEnd))
	defer timer.Stop()
	for t.warming() {
		heard := t.news.wait()
		if t.tree.Unheard() == 0 {
			return
		}
		select {
		case <-heard:
		case <-timer.C:
		case <-t.ctx.Done():
			return
		}
	}
}
