package master

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"weed/internal/blob"
	"weed/internal/wire"
	"weed/master/state"
)

// fakes are the fake volume servers of all tests by URL, for those that copy from each other.
var fakes sync.Map

// adopt takes a configuration over. v.mu is held.
func (v *volumeServer) adopt(c wire.VolumeConfig) {
	info, held := v.volumes[c.ID]
	if !held || c.Epoch <= v.configs[c.ID].Epoch {
		return
	}
	v.configs[c.ID] = c
	if info.CopyEpoch, info.InSync = c.Epoch, slices.Contains(c.Members, v.hb.URL); info.InSync {
		info.WholeIn = c.Epoch
	}
	v.volumes[c.ID] = info
	if c.Primary != v.url {
		delete(v.adding, c.ID)
	}
}

func (v *volumeServer) learn(configs ...wire.VolumeConfig) {
	v.locked(func() {
		for _, c := range configs {
			v.adopt(c)
		}
	})
}

// configure asks the master for a configuration and takes over the one in force. v.mu is held, but not while it
// asks.
func (v *volumeServer) configure(c wire.VolumeConfig) {
	v.mu.Unlock()
	defer v.mu.Lock()
	b, _ := json.Marshal(c)
	resp, err := http.Post("http://"+v.f.cfg.Address+wire.PathConfigure, "application/json", bytes.NewReader(b))
	if err != nil {
		return // as when the master goes
	}
	defer resp.Body.Close()
	var now wire.VolumeConfig
	if resp.StatusCode == 200 && json.NewDecoder(resp.Body).Decode(&now) == nil {
		v.learn(now)
	}
}

// changeCopies carries out an order to the primary: a server that is to be added gets all of the volume at once,
// unless v.stuck is set. v.mu is held.
func (v *volumeServer) changeCopies(body []byte, answer func(int, any)) {
	var order wire.ChangeCopies
	if err := json.Unmarshal(body, &order); err != nil {
		answer(400, wire.Error{Error: "bad order"})
		return
	}
	v.orders = append(v.orders, order)
	c := v.configs[order.ID]
	if c.Primary != v.url {
		answer(409, wire.Error{Error: "not the primary"})
		return
	}
	next := c
	next.Epoch++
	next.Members = slices.Clone(c.Members)
	if order.Add != "" && !slices.Contains(c.Members, order.Add) && !slices.Contains(v.adding[order.ID], order.Add) {
		v.adding[order.ID] = append(v.adding[order.ID], order.Add)
	}
	v.adding[order.ID] = slices.DeleteFunc(v.adding[order.ID], func(s string) bool { return s == order.Forget })
	if !v.stuck {
		next.Members = append(next.Members, v.ship(v.volumes[order.ID], v.adding[order.ID])...)
		delete(v.adding, order.ID)
	}
	if order.Drop != "" && order.Drop != v.url {
		next.Members = slices.DeleteFunc(next.Members, func(s string) bool { return s == order.Drop })
	}
	if order.Lead != "" && slices.Contains(next.Members, order.Lead) {
		next.Primary = order.Lead
	}
	if next.Primary != c.Primary || !slices.Equal(next.Members, c.Members) {
		v.configure(next)
	}
	status := wire.ReplicationStatus{VolumeConfig: v.configs[order.ID], Role: "primary", InSync: true,
		Length: int64(v.volumes[order.ID].SizeBytes), Learners: map[string]int64{}}
	for _, s := range v.adding[order.ID] {
		status.Learners[s] = v.learned
	}
	answer(200, status)
}

// ship gives a copy to servers, and returns those that have taken it. v.mu is held, but not meanwhile: they may be
// shipping to this one.
func (v *volumeServer) ship(copied wire.VolumeInfo, servers []string) (took []string) {
	servers = slices.Clone(servers)
	v.mu.Unlock()
	defer v.mu.Lock()
	for _, s := range servers {
		if to, ok := fakes.Load(s); ok && to.(*volumeServer).receive(copied) {
			took = append(took, s)
		}
	}
	return took
}

// receive makes the server's copy what the primary's is; it is false when it has none to be filled.
func (v *volumeServer) receive(from wire.VolumeInfo) (held bool) {
	v.locked(func() {
		var mine wire.VolumeInfo
		if mine, held = v.volumes[from.ID]; held {
			from.Disk, from.CopyEpoch, from.InSync = mine.Disk, mine.CopyEpoch, false
			v.volumes[from.ID] = from
		}
	})
	return held
}

// leave makes the server say goodbye; return makes it report again, in another life.
func (v *volumeServer) leave() {
	v.f.Helper()
	v.hb.Leaving = true
	v.beatOnce(false)
}

func (v *volumeServer) comeBack() {
	v.f.Helper()
	v.hb.Leaving = false
	v.hb.Incarnation++
	v.beat(true)
}

// complete has servers report until they are all that hold a volume, and in sync.
func (f *fixture) complete(id uint32, servers ...*volumeServer) {
	f.Helper()
	f.eventually("the volume to have its copies", func() bool {
		for _, v := range servers {
			v.beat(true)
		}
		r := f.record(blob.VolumeID(id))
		for _, v := range servers {
			if !slices.Contains(r.Members, state.ServerID(v.url)) || v.copies()[id].CopyEpoch != r.Epoch {
				return false
			}
		}
		return len(r.Members) == len(servers)
	})
	for _, v := range servers { // the master knows as well
		v.beat(true)
	}
}

// drop makes the primary of a volume leave a server out, as when it is lost.
func (v *volumeServer) drop(id uint32, lost string) {
	v.locked(func() {
		next := v.configs[id]
		next.Epoch++
		next.Primary = v.url
		next.Members = slices.DeleteFunc(slices.Clone(next.Members), func(s string) bool { return s == lost })
		v.configure(next)
	})
}
