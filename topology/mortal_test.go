package topology

import (
	"errors"
	"slices"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/wire"
)

// ids returns the ids of some volumes, in order.
func ids(aged []Aged) (ids []blob.VolumeID) {
	for _, a := range aged {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestGrace(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		time.Minute: 6 * time.Second, time.Hour: 6 * time.Minute, 24 * time.Hour: 10 * time.Minute,
	} {
		if got := Grace(ttl); got != want {
			t.Errorf("of %v: %v, want %v", ttl, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	f := boundFixture(t)
	a, b := newServer("a:1", "dc1", "r1", 7), newServer("b:1", "dc1", "r1", 7)
	hour := blob.TTL{Count: 1, Unit: blob.TTLHour}
	written := func(id uint32, code string, at time.Duration, change func(*wire.VolumeInfo)) wire.VolumeInfo {
		i := info(id, "", code)
		i.TTL, i.ModifiedAtSecond, i.InSync = hour.String(), start.Add(at).Unix(), true
		if change != nil {
			change(&i)
		}
		return i
	}
	key := layoutKey("", "000")
	key.TTL = hour
	pair := layoutKey("", "001")
	pair.TTL = hour
	f.Bind(1, Group{Key: key, Members: []string{"a:1"}, Open: true})
	f.Bind(2, Group{Key: key, Members: []string{"a:1"}, Open: true}) // never written to
	f.Bind(3, Group{Key: pair, Members: []string{"b:1", "a:1"}, Open: true})
	f.Bind(4, Group{Key: layoutKey("", "000"), Members: []string{"a:1"}, Open: true}) // for ever
	a.vols[1] = written(1, "000", 0, nil)
	a.vols[2] = written(2, "000", 0, func(i *wire.VolumeInfo) { i.ModifiedAtSecond = 0 })
	a.vols[3] = written(3, "001", 0, nil)
	a.vols[4] = written(4, "000", 0, func(i *wire.VolumeInfo) { i.TTL = "" })
	b.vols[3] = written(3, "001", 10*time.Minute, nil) // the later one counts
	f.beat(a.full())
	f.beat(b.full())
	pick := func(key LayoutKey, want bool) {
		t.Helper()
		if _, err := f.Pick(key, Preference{}); (err == nil) != want || err != nil && !errors.Is(err, ErrNoWritable) {
			t.Errorf("picked: %v", err)
		}
	}
	for _, c := range []struct {
		at       time.Duration
		over     []blob.VolumeID
		one, two bool // whether the volume 1, and 3, is picked
	}{
		{53 * time.Minute, nil, true, true},
		{54 * time.Minute, nil, false, true},
		{64 * time.Minute, nil, false, false},
		{66*time.Minute - 1, nil, false, false},
		{66 * time.Minute, []blob.VolumeID{1}, false, false},
		{76 * time.Minute, []blob.VolumeID{1, 3}, false, false},
	} {
		if got := ids(f.Age(start.Add(c.at))); !slices.Equal(got, c.over) {
			t.Errorf("after %v: %v, want %v", c.at, got, c.over)
		}
		f.check()
		if f.volumes[1].writable != c.one || !f.volumes[2].writable || !f.volumes[4].writable {
			t.Errorf("after %v: %v, %v and %v take blobs", c.at, f.volumes[1].writable, f.volumes[2].writable, f.volumes[4].writable)
		}
		pick(key, true)
		pick(pair, c.two)
	}
	for _, aged := range f.Age(start.Add(76 * time.Minute)) {
		if aged.ID == 3 && (aged.Primary != "b:1" || aged.ModifiedAt != start.Add(10*time.Minute).Unix()) {
			t.Errorf("%+v", aged)
		}
	}

	// The primary is not in sync, or away: it is not known what it has taken.
	b.vols[3] = written(3, "001", 10*time.Minute, func(i *wire.VolumeInfo) { i.InSync = false })
	f.Bind(3, Group{Key: pair, Members: []string{"b:1", "a:1"}, Open: true, Epoch: 2})
	f.beat(b.full())
	if got := ids(f.Age(start.Add(80 * time.Minute))); !slices.Equal(got, []blob.VolumeID{1}) {
		t.Error(got)
	}
	// A late write brings a volume back; one in deletion is not over again.
	a.vols[1] = written(1, "000", 70*time.Minute, nil)
	f.beat(a.full())
	if got := f.Age(start.Add(80 * time.Minute)); len(got) != 0 {
		t.Error(got)
	}
	if !f.volumes[1].writable {
		t.Error("it takes no blobs")
	}
	f.Bind(1, Group{Key: key, Members: []string{"a:1"}})
	if got := f.Age(start.Add(200 * time.Minute)); len(got) != 0 {
		t.Error(got)
	}
	for id := range blob.VolumeID(4) {
		f.Unbind(id + 1)
	}
	if f.check(); len(f.mortal) != 0 {
		t.Errorf("%d are remembered", len(f.mortal))
	}
}
