package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weed/internal/blob"
)

// model is the state done naively, from the package comment.
type model struct {
	last    blob.VolumeID
	volumes map[blob.VolumeID]Volume
	servers map[ServerID]Server
	removed map[blob.VolumeID]bool
	tokens  map[Token]VolumeIDRange
	empty   map[ServerID]bool // servers to be emptied
}

func newModel() *model {
	return &model{volumes: map[blob.VolumeID]Volume{}, servers: map[ServerID]Server{},
		removed: map[blob.VolumeID]bool{}, tokens: map[Token]VolumeIDRange{}, empty: map[ServerID]bool{}}
}

func (m *model) missing(id blob.VolumeID) error {
	if m.removed[id] {
		return ErrRemoved
	}
	return ErrNoVolume
}

func (m *model) known(g Group) bool {
	return !slices.ContainsFunc(g.Members, func(id ServerID) bool { _, ok := m.servers[id]; return !ok })
}

func same(a, b Group) bool { return a.Primary == b.Primary && slices.Equal(a.Members, b.Members) }

// create returns the ids, or the kind of error.
func (m *model) create(op createVolumes) (VolumeIDRange, error) {
	if ids, ok := m.tokens[op.token]; ok {
		if ids.Len() != len(op.groups) {
			return VolumeIDRange{}, ErrMalformed
		}
		return ids, nil
	}
	for _, g := range op.groups {
		if !m.known(g) {
			return VolumeIDRange{}, ErrNoServer
		}
	}
	ids := VolumeIDRange{m.last + 1, m.last + blob.VolumeID(len(op.groups))}
	for _, g := range op.groups {
		m.last++
		m.volumes[m.last] = Volume{ID: m.last, Layout: op.layout, State: Creating, Epoch: 1, Group: g}
	}
	m.tokens[op.token] = ids
	return ids, nil
}

func (m *model) adopt(v Volume) error {
	if have, ok := m.volumes[v.ID]; ok {
		if fmt.Sprint(have) == fmt.Sprint(v) {
			return nil
		}
		return ErrConflict
	}
	if m.removed[v.ID] {
		return ErrRemoved
	}
	if !m.known(v.Group) {
		return ErrNoServer
	}
	m.volumes[v.ID] = v
	m.last = max(m.last, v.ID)
	return nil
}

func (m *model) setState(c StateChange) error {
	v, ok := m.volumes[c.ID]
	if !ok {
		return m.missing(c.ID)
	}
	if v.Epoch != c.Epoch || v.State != c.From && v.State != c.To {
		return ErrConflict
	}
	v.State = c.To
	m.volumes[c.ID] = v
	return nil
}

func (m *model) regroup(c GroupChange) error {
	v, ok := m.volumes[c.ID]
	if !ok {
		return m.missing(c.ID)
	}
	if v.Epoch == c.Epoch+1 && same(v.Group, c.Group) {
		return nil
	}
	if v.Epoch != c.Epoch || v.State == Deleting {
		return ErrConflict
	}
	if !m.known(c.Group) {
		return ErrNoServer
	}
	v.Epoch++
	v.Group = c.Group
	m.volumes[c.ID] = v
	return nil
}

func (m *model) remove(id blob.VolumeID) error {
	v, ok := m.volumes[id]
	switch {
	case !ok && m.removed[id]:
		return nil
	case !ok:
		return ErrNoVolume
	case v.State != Deleting:
		return ErrConflict
	}
	delete(m.volumes, id)
	m.removed[id] = true
	return nil
}

func (m *model) removeServer(id ServerID) (bool, error) {
	for _, v := range m.volumes {
		if slices.Contains(v.Members, id) {
			return false, ErrServerInUse
		}
	}
	_, there := m.servers[id]
	delete(m.servers, id)
	delete(m.empty, id)
	return there, nil
}

func (m *model) setDraining(id ServerID, on bool) error {
	if _, there := m.servers[id]; !there {
		return ErrNoServer
	}
	if delete(m.empty, id); on {
		m.empty[id] = true
	}
	return nil
}

// apply obeys a command that parse has read, and says what is wrong with the machine's result.
func (m *model) apply(op operation, result any) string {
	each := func(n int, do func(i int) (blob.VolumeID, error)) string {
		for i := range n {
			o := result.([]Outcome)[i]
			id, want := do(i)
			if !errors.Is(o.Err, want) || want == nil && o.Err != nil {
				return fmt.Sprintf("outcome %v, want %v", o.Err, want)
			}
			var lost *ConflictError
			if errors.As(o.Err, &lost) && fmt.Sprint(*lost.Current) != fmt.Sprint(m.volumes[id]) {
				return fmt.Sprintf("conflict with %+v, the record is %+v", lost.Current, m.volumes[id])
			}
		}
		return ""
	}
	refused, _ := result.(error)
	switch op := op.(type) {
	case allocateVolumeIDs:
		m.last += blob.VolumeID(op.count)
	case raiseVolumeID:
		m.last = max(m.last, op.above)
	case createVolumes:
		if ids, err := m.create(op); !errors.Is(refused, err) || err == nil && result != ids {
			return fmt.Sprintf("result %v, want %v %v", result, ids, err)
		}
	case adoptVolumes:
		return each(len(op.volumes), func(i int) (blob.VolumeID, error) { return op.volumes[i].ID, m.adopt(op.volumes[i]) })
	case setStates:
		return each(len(op.changes), func(i int) (blob.VolumeID, error) { return op.changes[i].ID, m.setState(op.changes[i]) })
	case reconfigure:
		return each(len(op.changes), func(i int) (blob.VolumeID, error) { return op.changes[i].ID, m.regroup(op.changes[i]) })
	case removeVolumes:
		return each(len(op.ids), func(i int) (blob.VolumeID, error) { return op.ids[i], m.remove(op.ids[i]) })
	case putServer:
		m.servers[op.server.ID] = op.server
	case removeServer:
		if there, err := m.removeServer(op.id); !errors.Is(refused, err) || err == nil && result != there {
			return fmt.Sprintf("result %v, want %v %v", result, there, err)
		}
	case setDraining:
		if err := m.setDraining(op.id, op.on); !errors.Is(refused, err) || err == nil && result != op.on {
			return fmt.Sprintf("result %v, want %v %v", result, op.on, err)
		}
	}
	return ""
}

// copy returns a model that does not change with this one.
func (m *model) copy() *model {
	return &model{m.last, maps.Clone(m.volumes), maps.Clone(m.servers), maps.Clone(m.removed), maps.Clone(m.tokens), maps.Clone(m.empty)}
}

// differs says where a view and the model differ.
func (m *model) differs(v *View) string {
	if got := fmt.Sprint(v.VolumeCount(), v.ServerCount(), v.records.lastVolume); got != fmt.Sprint(len(m.volumes), len(m.servers), m.last) {
		return "volumes, servers, last id are " + got
	}
	if want := slices.Sorted(maps.Keys(m.empty)); !slices.Equal(v.Draining(), want) {
		return fmt.Sprintf("draining are %v, want %v", v.Draining(), want)
	}
	for id := blob.VolumeID(0); id < 20; id++ {
		if v.Removed(id) != m.removed[id] {
			return fmt.Sprintf("volume %d removed: %v", id, v.Removed(id))
		}
	}
	for got := range v.Volumes() {
		if want, ok := m.volumes[got.ID]; !ok || fmt.Sprint(*got) != fmt.Sprint(want) {
			return fmt.Sprintf("volume %+v, want %+v", *got, want)
		}
		if found, ok := v.Volume(got.ID); !ok || found != got {
			return fmt.Sprintf("volume %d is not found", got.ID)
		}
	}
	for got := range v.Servers() {
		if want := m.servers[got.ID]; *got != want {
			return fmt.Sprintf("server %+v, want %+v", *got, want)
		}
		if found, ok := v.Server(got.ID); !ok || found != got {
			return fmt.Sprintf("server %s is not found", got.ID)
		}
	}
	return ""
}

// TestModel compares with naive maps: every result, the state after every command, and views and what differs
// between them long after.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(rapid.OneOf(aboutRecords(), aboutRecords(), aboutRecords(), commands()), 0, 150).Draw(t, "log")
		m, naive := New(), newModel()
		type moment struct {
			view  *View
			naive *model
		}
		var kept []moment
		for i, command := range log {
			op, err := parse(command)
			result := m.Apply(command)
			if err != nil {
				if text(result) != text(err) {
					t.Fatalf("malformed, but the result is %v", result)
				}
			} else if _, refused := result.(error); refused && isAllocation(op) {
				continue
			} else if complaint := naive.apply(op, result); complaint != "" {
				t.Fatalf("command %d, %+v: %s", i, op, complaint)
			}
			if i%8 == 0 {
				kept = append(kept, moment{m.View(), naive.copy()})
			}
		}
		kept = append(kept, moment{m.View(), naive})
		for i, k := range kept {
			if complaint := k.naive.differs(k.view); complaint != "" {
				t.Fatalf("view %d of %d: %s", i, len(kept), complaint)
			}
			checkIndexes(t, k.view)
			changed := map[blob.VolumeID]bool{}
			for was, is := range kept[len(kept)-1].view.ChangesSince(k.view) {
				changed[max(idOf(was), idOf(is))] = true
			}
			for id := range changed {
				_, was := k.naive.volumes[id]
				if _, is := naive.volumes[id]; !was && !is {
					t.Fatalf("view %d: volume %d is said to have changed", i, id)
				}
			}
			for id := range naive.volumes {
				if !changed[id] && fmt.Sprint(naive.volumes[id]) != fmt.Sprint(k.naive.volumes[id]) {
					t.Fatalf("view %d: the change of volume %d is missing", i, id)
				}
			}
			for id := range k.naive.volumes {
				if _, still := naive.volumes[id]; !still && !changed[id] {
					t.Fatalf("view %d: the removal of volume %d is missing", i, id)
				}
			}
		}
	})
}

func isAllocation(op operation) bool { _, ok := op.(allocateVolumeIDs); return ok }

func idOf(v *Volume) blob.VolumeID {
	if v == nil {
		return 0
	}
	return v.ID
}

// checkIndexes compares what is derived from the volumes with the volumes.
func checkIndexes(t interface {
	Helper()
	Fatalf(string, ...any)
}, v *View) {
	t.Helper()
	in, on := map[string][]*Volume{}, map[ServerID][]*Volume{}
	last := blob.VolumeID(0)
	for volume := range v.Volumes() {
		if volume.ID <= last || volume.Primary != volume.Members[0] {
			t.Fatalf("volume %+v after volume %d", volume, last)
		}
		last = volume.ID
		in[volume.Collection] = append(in[volume.Collection], volume)
		for _, member := range volume.Members {
			on[member] = append(on[member], volume)
		}
	}
	names := slices.Sorted(maps.Keys(in))
	for name, count := range v.Collections() {
		if len(names) == 0 || names[0] != name || count != len(in[name]) {
			t.Fatalf("collection %q of %d volumes, want %d", name, count, len(in[name]))
		}
		names = names[1:]
		if got := slices.Collect(v.VolumesIn(name)); !slices.Equal(got, in[name]) {
			t.Fatalf("collection %q has %v, want %v", name, got, in[name])
		}
	}
	if len(names) > 0 {
		t.Fatalf("collections %q are missing", names)
	}
	held := 0
	for s := range v.Servers() {
		if got := slices.Collect(v.VolumesOn(s.ID)); !slices.Equal(got, on[s.ID]) || v.VolumeCountOn(s.ID) != len(got) {
			t.Fatalf("server %s holds %v, want %v", s.ID, got, on[s.ID])
		}
		if len(on[s.ID]) > 0 {
			held++
		}
	}
	if held != len(on) || v.records.held.shelves.len != held {
		t.Fatalf("volumes on %d servers, of which %d have a record, %d in the index", len(on), held, v.records.held.shelves.len)
	}
}

// TestTree compares a tree with a map, and frozen copies of it with copies of the map.
func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			tree tree[int, int]
			want map[int]int
		}
		var frozen []pair
		var tr tree[int, int]
		edit, want := uint64(1), map[int]int{}
		for range rapid.IntRange(0, 12).Draw(t, "rounds") {
			// Runs of keys, as ids come, make the tree deep; treeWidth keys fit one node.
			from, n := rapid.IntRange(0, 3000).Draw(t, "from"), rapid.IntRange(1, 900).Draw(t, "n")
			step := rapid.SampledFrom([]int{1, -1, 7}).Draw(t, "step")
			remove := rapid.Bool().Draw(t, "remove")
			for i := range n {
				key := from + i*step
				if remove {
					tr.delete(edit, key)
					delete(want, key)
				} else {
					tr.set(edit, key, from)
					want[key] = from
				}
			}
			frozen = append(frozen, pair{tr, maps.Clone(want)})
			edit++
		}
		for i, p := range frozen {
			keys := slices.Sorted(maps.Keys(p.want))
			var got []int
			p.tree.each(func(key, value int) bool {
				if p.want[key] != value {
					t.Fatalf("tree %d: %d is %d, want %d", i, key, value, p.want[key])
				}
				got = append(got, key)
				return true
			})
			if !slices.Equal(got, keys) || p.tree.len != len(keys) || len(keys) > 0 && p.tree.last() != keys[len(keys)-1] {
				t.Fatalf("tree %d has %d keys %v, want %v", i, p.tree.len, got, keys)
			}
			for key := -900; key < 10_000; key += 3 {
				value, ok := p.tree.get(key)
				if want, there := p.want[key]; ok != there || value != want {
					t.Fatalf("tree %d: get(%d) = %d, %v", i, key, value, ok)
				}
			}
		}
	})
}

// TestDeepTree fills a tree of three levels in several orders, and empties it.
func TestDeepTree(t *testing.T) {
	const n = 40_000
	for _, step := range []int{1, n - 1, 7919} { // ascending, descending, all over
		var tr tree[int, int]
		for i := range n {
			tr.set(1, i*step%n, i)
		}
		if tr.len != n || tr.root.kids == nil || tr.root.kids[0].kids == nil {
			t.Fatalf("step %d: %d keys, or fewer than three levels", step, tr.len)
		}
		frozen, next := tr, 0
		for i := range n {
			tr.delete(2, i*step%n)
		}
		if tr.len != 0 || tr.root != nil {
			t.Errorf("step %d: %d keys are left", step, tr.len)
		}
		frozen.each(func(key, value int) bool {
			if key != next || value*step%n != key {
				t.Fatalf("step %d: key %d with %d, want key %d", step, key, value, next)
			}
			next++
			return true
		})
		if next != n {
			t.Errorf("step %d: %d keys", step, next)
		}
	}
}
