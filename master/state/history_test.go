package state

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weed/internal/blob"
)

func TestReplayGivesTheSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(commands(), 0, 60).Draw(t, "log")
		a, b := New(), New()
		for i, command := range log {
			if ra, rb := text(a.Apply(command)), text(b.Apply(slices.Clone(command))); ra != rb {
				t.Fatalf("command %d: %v on one, %v on the other", i, ra, rb)
			}
		}
		if !bytes.Equal(encoded(t, a), encoded(t, b)) {
			t.Fatalf("same log, different states")
		}
	})
}

func TestSnapshotAndRestEqualTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(commands(), 0, 60).Draw(t, "log")
		cut := rapid.IntRange(0, len(log)).Draw(t, "cut")
		whole := New()
		for _, command := range log[:cut] {
			whole.Apply(command)
		}
		snapshot, err := whole.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var wholeResults []any
		for _, command := range log[cut:] {
			wholeResults = append(wholeResults, text(whole.Apply(command)))
		}
		var written bytes.Buffer // only now: a snapshot may not follow later commands
		if _, err := snapshot.WriteTo(&written); err != nil {
			t.Fatal(err)
		}
		resumed := New()
		resumed.Apply(LeaseKeys(123_456_789).Bytes()) // Restore replaces what was there
		resumed.Apply(SetClusterID(ClusterID{7}).Bytes())
		if err := resumed.Restore(&written); err != nil {
			t.Fatal(err)
		}
		for i, command := range log[cut:] {
			if got := text(resumed.Apply(command)); got != wholeResults[i] {
				t.Fatalf("command %d after the snapshot: %v, without one %v", i, got, wholeResults[i])
			}
		}
		if !bytes.Equal(encoded(t, resumed), encoded(t, whole)) {
			t.Fatalf("snapshot and rest differ from the whole")
		}
	})
}

func TestNoKeyAndNoVolumeIDTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(commands(), 0, 100).Draw(t, "log")
		m := New()
		var lastKey blob.Key
		var lastVolume blob.VolumeID
		for _, command := range log {
			switch r := m.Apply(command).(type) {
			case KeyRange:
				if r.First <= lastKey || r.Last < r.First || r.Last > MaxKey {
					t.Fatalf("lease %v after key %d", r, lastKey)
				}
				lastKey = r.Last
			case VolumeIDRange:
				if r.First <= lastVolume || r.Last < r.First {
					t.Fatalf("ids %v after %d", r, lastVolume)
				}
				lastVolume = r.Last
			case blob.Key: // raised: all below counts as in use
				lastKey = max(lastKey, r)
			case blob.VolumeID:
				lastVolume = max(lastVolume, r)
			}
		}
		if m.LastKey() < lastKey || m.LastVolumeID() < lastVolume {
			t.Fatalf("state forgot key %d or volume %d", lastKey, lastVolume)
		}
	})
}

// TestHistory follows the records through a log: epochs grow by one, a volume has one group in one epoch,
// records that were read never change, and a removed id does not come back.
func TestHistory(t *testing.T) {
	type moment struct {
		id    blob.VolumeID
		epoch uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(commands(), 0, 150).Draw(t, "log")
		m := New()
		groups := map[moment]string{}
		seen := map[*Volume]string{}
		removed := map[blob.VolumeID]bool{}
		for _, command := range log {
			before := m.View()
			result := m.Apply(command)
			after := m.View()
			for was, is := range after.ChangesSince(before) {
				switch {
				case is == nil:
					if was.State != Deleting {
						t.Fatalf("removed while %s", was.State)
					}
					removed[was.ID] = true
					continue
				case was == nil && removed[is.ID]:
					t.Fatalf("volume %d came back", is.ID)
				case was != nil && (was.ID != is.ID || was.Layout != is.Layout):
					t.Fatalf("%+v became %+v", was, is)
				case was != nil && was.State != is.State && (was.Epoch != is.Epoch || !was.State.mayBecome(is.State)):
					t.Fatalf("%+v became %+v", was, is)
				case was != nil && was.State == is.State && is.Epoch != was.Epoch+1:
					t.Fatalf("epoch %d after %d", is.Epoch, was.Epoch)
				case is.ID > m.LastVolumeID():
					t.Fatalf("volume %d, but the last id is %d", is.ID, m.LastVolumeID())
				}
				for _, member := range is.Members {
					if _, ok := m.Server(member); !ok {
						t.Fatalf("no record of %s, a member of %d", member, is.ID)
					}
				}
				at, who := moment{is.ID, is.Epoch}, text(is.Group)
				if known, ok := groups[at]; ok && known != who {
					t.Fatalf("volume %d has two groups in epoch %d: %s and %s", at.id, at.epoch, known, who)
				}
				groups[at] = who
				seen[is] = volumeText(is)
			}
			if changed := after.Revision() != before.Revision(); !changed && !bytes.Equal(encodedView(t, before), encodedView(t, after)) {
				t.Fatalf("a change without a new revision")
			} else if _, refused := result.(error); refused && changed {
				t.Fatalf("refused, but there is a new revision")
			}
		}
		for v, was := range seen {
			if volumeText(v) != was {
				t.Fatalf("record %s has become %s", was, volumeText(v))
			}
		}
	})
}

// TestRepetition gives every command twice, as one whose outcome was unknown is.
func TestRepetition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := rapid.SliceOfN(rapid.OneOf(aboutRecords(), aboutRecords(), commands()), 0, 80).Draw(t, "log")
		m := New()
		for _, command := range log {
			op, _ := parse(command)
			first := m.Apply(command)
			before := m.View()
			again := m.Apply(command)
			switch op.(type) {
			case leaseKeys, allocateVolumeIDs:
				continue // another block is what they are for
			case nil:
			case removeVolumes: // the records are gone
				for i, o := range again.([]Outcome) {
					if text(o.Err) != text(first.([]Outcome)[i].Err) {
						t.Fatalf("removal again: %v, first %v", o.Err, first.([]Outcome)[i].Err)
					}
				}
			case removeServer:
				if again != false && text(again) != text(first) {
					t.Fatalf("removal again: %v, first %v", again, first)
				}
			default:
				if text(again) != text(first) {
					t.Fatalf("command % x: %v, first %v", command, text(again), text(first))
				}
			}
			if m.View() != before {
				t.Fatalf("command % x changed something again", command)
			}
		}
	})
}

func encodedView(t interface {
	Helper()
	Fatalf(string, ...any)
}, v *View) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := (&snapshot{&v.records}).WriteTo(&out); err != nil {
		t.Fatalf("write snapshot: %v", err)
	}
	return out.Bytes()
}

// populated returns a state with all kinds of records.
func populated(t interface {
	Helper()
	Fatalf(string, ...any)
}) *Machine {
	m := New()
	apply(t, m, LeaseKeys(1000))
	apply(t, m, SetClusterID(ClusterID{9}))
	for _, id := range []ServerID{"a:1", "b:2", "c:3"} {
		apply(t, m, PutServer(Server{ID: id, PublicURL: "p." + string(id), DataCenter: "dc1", Rack: "ä", Slots: 7}))
	}
	two := Layout{Collection: "pictures", Placement: blob.Placement{Racks: 1}, TTL: blob.TTL{Count: 5, Unit: blob.TTLDay}, DiskVersion: 3}
	apply(t, m, CreateVolumes(Token{1}, two, []Group{{"b:2", []ServerID{"a:1", "b:2"}}, {"c:3", []ServerID{"c:3", "a:1"}}}))
	apply(t, m, CreateVolumes(Token{2}, Layout{DiskVersion: 3}, []Group{{"c:3", []ServerID{"c:3"}}}))
	apply(t, m, AdoptVolumes([]Volume{{ID: 0x12345, Layout: Layout{Collection: "old", DiskVersion: 2}, State: ReadOnly,
		Epoch: 1 << 40, Group: Group{"a:1", []ServerID{"a:1", "b:2", "c:3"}}}}))
	apply(t, m, SetStates([]StateChange{{1, 1, Creating, Writable}, {3, 1, Creating, Deleting}}))
	apply(t, m, Reconfigure([]GroupChange{{1, 1, Group{"a:1", []ServerID{"a:1"}}}}))
	apply(t, m, RemoveVolumes([]blob.VolumeID{3}))
	apply(t, m, SetDraining("c:3", true))
	apply(t, m, SetDraining("b:2", true))
	return m
}

func FuzzApply(f *testing.F) {
	for _, seed := range [][]byte{
		LeaseKeys(1).Bytes(), LeaseKeys(math.MaxUint64).Bytes(), RaiseKeys(MaxKey).Bytes(),
		AllocateVolumeIDs(math.MaxUint32).Bytes(), RaiseVolumeID(math.MaxUint32).Bytes(), SetClusterID(ClusterID{1}).Bytes(),
		CreateVolumes(Token{7}, Layout{Collection: "x", DiskVersion: 3}, []Group{{"a:1", []ServerID{"a:1"}}}).Bytes(),
		AdoptVolumes([]Volume{{ID: 9, Layout: Layout{DiskVersion: 1}, State: Writable, Epoch: 1, Group: Group{"a:1", []ServerID{"a:1", "b:2"}}}}).Bytes(),
		SetStates([]StateChange{{1, 2, Writable, ReadOnly}, {2, 1, Creating, Deleting}}).Bytes(),
		Reconfigure([]GroupChange{{1, 2, Group{"b:2", []ServerID{"a:1", "b:2"}}}}).Bytes(),
		RemoveVolumes([]blob.VolumeID{3, 4}).Bytes(),
		PutServer(Server{ID: "d:4", DataCenter: "x"}).Bytes(), RemoveServer("a:1").Bytes(), {1, 99, 0},
		SetDraining("a:1", true).Bytes(), SetDraining("c:3", false).Bytes(),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, command []byte) {
		m := populated(t)
		before := encoded(t, m)
		if err, refused := m.Apply(slices.Clone(command)).(error); refused {
			if !bytes.Equal(encoded(t, m), before) {
				t.Fatalf("refused with %v, but the state changed", err)
			}
		}
		if m.LastKey() < 1000 || m.LastKey() > MaxKey {
			t.Fatalf("last key %d", m.LastKey())
		}
		again := New()
		if err := again.Restore(bytes.NewReader(encoded(t, m))); err != nil {
			t.Fatalf("the state cannot be restored: %v", err)
		}
		checkIndexes(t, m.View())
	})
}

func FuzzRestore(f *testing.F) {
	m := New()
	f.Add(encoded(f, m))
	m.Apply(LeaseKeys(1000).Bytes())
	m.Apply(SetClusterID(ClusterID{1}).Bytes())
	f.Add(encoded(f, m))
	f.Add(encoded(f, populated(f)))
	f.Add([]byte("WSTA\x01"))
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		// The fuzzer does not find checksums: half of its tries get one.
		if len(snapshot) > 9 && snapshot[len(snapshot)-1]&1 == 0 {
			snapshot = reseal(snapshot)
		}
		m := New()
		if err := m.Restore(bytes.NewReader(snapshot)); err != nil {
			if !errors.Is(err, ErrCorrupt) || m.Revision() != 0 {
				t.Fatalf("error %v, revision %d", err, m.Revision())
			}
			return
		}
		if !bytes.Equal(encoded(t, m), snapshot) {
			t.Fatalf("accepted a snapshot that is not what this state encodes to")
		}
		checkIndexes(t, m.View())
	})
}
