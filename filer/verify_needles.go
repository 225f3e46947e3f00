package filer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"weed/client"
	"weed/internal/blob"
)

// What is known of a needle.
const (
	ours     uint8 = 1 << iota // it carries the filer's namespace
	old                        // it is older than the grace time
	referred                   // a record refers to it
	claimed                    // a claim or a drop does
)

// needle is a blob that was listed.
type needle struct {
	key    uint64
	cookie uint32
	state  uint8
}

func (n *needle) is(state uint8) bool { return n.state&state != 0 }

// needleSet holds the needles of some volumes, or a part of them.
type needleSet struct {
	part, parts uint64
	volumes     map[blob.VolumeID][]needle // by key
}

// holds reports whether the set would have a needle, if that was there.
func (s *needleSet) holds(id blob.VolumeID, key blob.Key) bool {
	_, ok := s.volumes[id]
	return ok && uint64(key)%s.parts == s.part
}

// find returns the needle of a key, nil if there is none.
func (s *needleSet) find(id blob.VolumeID, key blob.Key) *needle {
	list := s.volumes[id]
	i, ok := slices.BinarySearchFunc(list, uint64(key), func(n needle, key uint64) int { return cmp.Compare(n.key, key) })
	if !ok {
		return nil
	}
	return &list[i]
}

// mark notes something of a blob, if it is in the set.
func (s *needleSet) mark(fid blob.FileID, state uint8) {
	if n := s.find(fid.Volume, fid.Key); n != nil && n.cookie == uint32(fid.Cookie) {
		n.state |= state
	}
}

func sortNeedles(list []needle) {
	byKey := func(a, b needle) int { return cmp.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(list, byKey) {
		slices.SortFunc(list, byKey)
	}
}

// group is so many volumes as fit into memory, or one of the parts of a volume that alone does not.
type group struct {
	volumes     []*client.Volume
	part, parts uint64
}

// filesOf returns how many blobs a volume has had when it was last heard of.
func filesOf(v *client.Volume) (n int64) {
	for i := range v.Copies {
		if !v.Copies[i].Stray {
			n = max(n, int64(v.Copies[i].FileCount))
		}
	}
	return n
}

// groupVolumes cuts volumes into groups of about limit keys; there is always one.
func groupVolumes(volumes []client.Volume, limit int64) []group {
	var groups, large []group
	now, room := group{parts: 1}, limit
	for i := range volumes {
		v := &volumes[i]
		keys := filesOf(v)
		if keys > limit {
			parts := uint64((keys + limit - 1) / limit)
			for part := range parts {
				large = append(large, group{[]*client.Volume{v}, part, parts})
			}
			continue
		}
		if keys > room && len(now.volumes) > 0 {
			groups = append(groups, now)
			now, room = group{parts: 1}, limit
		}
		now.volumes = append(now.volumes, v)
		room -= keys
	}
	return append(append(groups, now), large...)
}

// listVolume adds a volume's needles to the set.
func (v *verifier) listVolume(ctx context.Context, volume *client.Volume) error {
	id := blob.VolumeID(volume.ID)
	size := int64(0)
	v.set.volumes[id] = make([]needle, 0, uint64(filesOf(volume))/v.set.parts+1)
	err := v.list(ctx, id, func() {
		v.blobs.Add(-size)
		v.set.volumes[id], size = v.set.volumes[id][:0], 0
	}, func(fid blob.FileID, n *client.Needle) {
		if v.set.part == 0 {
			v.blobs.Add(1)
			size++
		}
		if n.Damage != "" || uint64(fid.Key)%v.set.parts != v.set.part {
			return // of one that is damaged nothing is sure
		}
		one := needle{key: uint64(fid.Key), cookie: uint32(fid.Cookie)}
		if n.Pair == v.result.Namespace {
			one.state = ours
			if n.AppendedAt != 0 && v.began.Sub(time.Unix(0, n.AppendedAt)) >= v.grace {
				one.state |= old
			}
		}
		v.set.volumes[id] = append(v.set.volumes[id], one)
	})
	if err != nil || v.volumes[id].unreachable {
		delete(v.set.volumes, id)
		return err
	}
	sortNeedles(v.set.volumes[id])
	if v.set.part == 0 {
		v.listed.Add(1)
	}
	return nil
}

const (
	listRounds    = 4  // tries of all servers of a volume
	listCompacted = 20 // tries of a volume that is compacted all the time
)

// list hands the needles of a volume to add, of any copy that is what the others are. begin is called before the first,
// and again when the list has to begin anew. A volume that can't be listed is told, and marked as not reachable.
func (v *verifier) list(ctx context.Context, id blob.VolumeID, begin func(), add func(blob.FileID, *client.Needle)) error {
	state := v.volumes[id]
	var last error
	for round, compacted := 0, 0; round < listRounds; {
		again := false
		for i := range state.volume.Copies {
			at := &state.volume.Copies[i]
			if at.Stray || again {
				continue
			}
			begin()
			last = v.f.client.ListNeedles(ctx, at.Server, uint32(id), client.ListOptions{Pair: "Filer"}, func(n *client.Needle) error {
				fid, err := blob.ParseFileID(n.FID)
				if err == nil {
					add(fid, n)
				}
				return err
			})
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case last == nil:
				return nil
			case errors.Is(last, client.ErrCompacted) && compacted < listCompacted:
				compacted++
				again = true
			}
		}
		if again {
			continue
		}
		if round++; round < listRounds && !pause(ctx, v.f.verifyPause<<(round-1)) {
			return ctx.Err()
		}
		if err := v.refresh(ctx, id); err != nil {
			return err
		}
		if state.gone {
			begin()
			return nil
		}
	}
	begin()
	state.unreachable = true
	if last == nil {
		last = errors.New("it has no copy but strays")
	}
	v.fail("volume %d was not listed: %v", id, last)
	return nil
}

// refresh asks where a volume is by now.
func (v *verifier) refresh(ctx context.Context, id blob.VolumeID) error {
	volumes, err := v.f.client.VolumeList(ctx)
	if err != nil {
		return err
	}
	state := v.volumes[id]
	for i := range volumes {
		if volumes[i].ID == uint32(id) {
			state.volume = &volumes[i]
			return nil
		}
	}
	if _, err = v.f.client.Lookup(ctx, uint32(id)); errors.Is(err, client.ErrNotFound) {
		state.gone, err = true, nil // it was deleted, or has expired
	}
	return err
}
