package state

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"slices"
	"testing"

	"weed/internal/blob"
)

func apply[R any](t interface {
	Helper()
	Fatalf(string, ...any)
}, m *Machine, c Command[R]) R {
	t.Helper()
	result, err := c.Result(m.Apply(c.Bytes()))
	if err != nil {
		t.Fatalf("command % x: %v", c.Bytes(), err)
	}
	return result
}

func refused[R any](t *testing.T, m *Machine, c Command[R], want error) {
	t.Helper()
	before := encoded(t, m)
	if _, err := c.Result(m.Apply(c.Bytes())); !errors.Is(err, want) {
		t.Errorf("command %.40x: error %v, want %v", c.Bytes(), err, want)
	}
	if !bytes.Equal(encoded(t, m), before) {
		t.Errorf("command %.40x was refused but changed the state", c.Bytes())
	}
}

func encoded(t interface {
	Helper()
	Fatalf(string, ...any)
}, m *Machine) []byte {
	t.Helper()
	snapshot, err := m.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	var out bytes.Buffer
	if _, err := snapshot.WriteTo(&out); err != nil {
		t.Fatalf("write snapshot: %v", err)
	}
	return out.Bytes()
}

func TestKeysAreLeasedInBlocks(t *testing.T) {
	m := New()
	if got, want := apply(t, m, LeaseKeys(100)), (KeyRange{1, 100}); got != want {
		t.Errorf("first lease %v, want %v", got, want)
	}
	if got, want := apply(t, m, LeaseKeys(1)), (KeyRange{101, 101}); got != want || got.Len() != 1 {
		t.Errorf("second lease %v (%d keys), want %v", got, got.Len(), want)
	}
	if got := apply(t, m, RaiseKeys(50)); got != 101 {
		t.Errorf("raise below the sequence moved it to %d", got)
	}
	if got := apply(t, m, RaiseKeys(1000)); got != 1000 {
		t.Errorf("raise to 1000 gave %d", got)
	}
	if got := apply(t, m, RaiseKeys(math.MaxUint64)); got != 1000 {
		t.Errorf("a key outside of the sequence moved it to %d", got)
	}
	if got, want := apply(t, m, LeaseKeys(10)), (KeyRange{1001, 1010}); got != want {
		t.Errorf("lease after raise %v, want %v", got, want)
	}
	if m.LastKey() != 1010 {
		t.Errorf("LastKey() = %d", m.LastKey())
	}
	refused(t, m, LeaseKeys(0), ErrMalformed)
}

func TestKeysRunOut(t *testing.T) {
	m := New()
	apply(t, m, RaiseKeys(MaxKey-10))
	refused(t, m, LeaseKeys(11), ErrExhausted)
	refused(t, m, LeaseKeys(math.MaxUint64), ErrExhausted)
	if got, want := apply(t, m, LeaseKeys(10)), (KeyRange{MaxKey - 9, MaxKey}); got != want {
		t.Errorf("last lease %v, want %v", got, want)
	}
	refused(t, m, LeaseKeys(1), ErrExhausted)
}

func TestVolumeIDs(t *testing.T) {
	m := New()
	if got, want := apply(t, m, AllocateVolumeIDs(7)), (VolumeIDRange{1, 7}); got != want {
		t.Errorf("first ids %v, want %v", got, want)
	}
	if got := apply(t, m, RaiseVolumeID(3)); got != 7 {
		t.Errorf("raise below gave %d", got)
	}
	apply(t, m, RaiseVolumeID(math.MaxUint32-2))
	refused(t, m, AllocateVolumeIDs(3), ErrExhausted)
	refused(t, m, AllocateVolumeIDs(0), ErrMalformed)
	if got, want := apply(t, m, AllocateVolumeIDs(2)), (VolumeIDRange{math.MaxUint32 - 1, math.MaxUint32}); got != want {
		t.Errorf("last ids %v, want %v", got, want)
	}
	refused(t, m, AllocateVolumeIDs(1), ErrExhausted)
	if m.LastVolumeID() != math.MaxUint32 {
		t.Errorf("LastVolumeID() = %d", m.LastVolumeID())
	}
}

func TestClusterIDIsSetOnce(t *testing.T) {
	m := New()
	if id, ok := m.ClusterID(); ok {
		t.Errorf("a new cluster has id %s", id)
	}
	refused(t, m, SetClusterID(ClusterID{}), ErrMalformed)
	first, second := ClusterID{1}, ClusterID{2}
	if got := apply(t, m, SetClusterID(first)); got != first {
		t.Errorf("set to %s gave %s", first, got)
	}
	if got := apply(t, m, SetClusterID(second)); got != first {
		t.Errorf("a second id %s took the place of %s", got, first)
	}
	if id, ok := m.ClusterID(); !ok || id != first {
		t.Errorf("ClusterID() = %s, %v", id, ok)
	}
}

var pinnedLayout = Layout{
	Collection: "pic", Placement: blob.Placement{DataCenters: 1, Racks: 2, Servers: 3},
	TTL: blob.TTL{Count: 5, Unit: blob.TTLDay}, DiskVersion: 3,
}

const pinnedLayoutBytes = "0003706963" + "010203" + "0503" + "03"

// TestCommandBytes pins the encoding that logs in the field hold.
func TestCommandBytes(t *testing.T) {
	for _, row := range []struct {
		name string
		got  []byte
		want string
	}{
		{"LeaseKeys", LeaseKeys(10000).Bytes(), "0101" + "0000000000002710"},
		{"RaiseKeys", RaiseKeys(0x1122334455667788).Bytes(), "0102" + "1122334455667788"},
		{"AllocateVolumeIDs", AllocateVolumeIDs(7).Bytes(), "0103" + "00000007"},
		{"RaiseVolumeID", RaiseVolumeID(0x01020304).Bytes(), "0104" + "01020304"},
		{"SetClusterID", SetClusterID(ClusterID{0xab, 15: 0xcd}).Bytes(), "0105" + "ab0000000000000000000000000000cd"},
		{"CreateVolumes", CreateVolumes(Token{0xaa, 15: 0xbb}, pinnedLayout, []Group{{"b:2", []ServerID{"a:1", "b:2"}}}).Bytes(),
			"0106" + "aa0000000000000000000000000000bb" + pinnedLayoutBytes + "00000001" + "0003623a32" + "02" + "0003613a31" + "0003623a32"},
		{"AdoptVolumes", AdoptVolumes([]Volume{{7, pinnedLayout, ReadOnly, 9, Group{"b:2", []ServerID{"b:2"}}}}).Bytes(),
			"0107" + "00000001" + "00000007" + pinnedLayoutBytes + "03" + "0000000000000009" + "0003623a32" + "01" + "0003623a32"},
		{"SetStates", SetStates([]StateChange{{7, 9, Creating, Writable}, {8, 1, ReadOnly, Deleting}}).Bytes(),
			"0108" + "00000002" + "00000007" + "0000000000000009" + "0102" + "00000008" + "0000000000000001" + "0304"},
		{"Reconfigure", Reconfigure([]GroupChange{{7, 9, Group{"b:2", []ServerID{"b:2"}}}}).Bytes(),
			"0109" + "00000001" + "00000007" + "0000000000000009" + "0003623a32" + "01" + "0003623a32"},
		{"RemoveVolumes", RemoveVolumes([]blob.VolumeID{7, 8}).Bytes(), "010a" + "00000002" + "00000007" + "00000008"},
		{"PutServer", PutServer(Server{"a:1", "p:1", "d", "r", 258}).Bytes(),
			"010b" + "0003613a31" + "0003703a31" + "000164" + "000172" + "00000102"},
		{"RemoveServer", RemoveServer("a:1").Bytes(), "010c" + "0003613a31"},
		{"SetDraining", SetDraining("a:1", true).Bytes(), "010d" + "0003613a31" + "01"},
	} {
		if got := hex.EncodeToString(row.got); got != row.want {
			t.Errorf("%s is %s, want %s", row.name, got, row.want)
		}
	}
}

// TestSnapshotBytes pins the snapshot's encoding: testdata/snapshot-v1 was put together by hand
// from the table in the package comment.
func TestSnapshotBytes(t *testing.T) {
	golden, err := os.ReadFile("testdata/snapshot-v1")
	if err != nil {
		t.Fatal(err)
	}
	m := New()
	if err := m.Restore(bytes.NewReader(golden)); err != nil {
		t.Fatal(err)
	}
	if id, _ := m.ClusterID(); m.LastKey() != 0x1122334455667788 || m.LastVolumeID() != 0x01020304 ||
		id != (ClusterID{0xab, 15: 0xcd}) || m.View().VolumeCount() != 0 || m.View().ServerCount() != 0 {
		t.Errorf("restored %+v", m.live.records)
	}
	if got := encoded(t, m); !bytes.Equal(got, golden) {
		t.Errorf("encoded\n%s, want\n%s", hex.Dump(got), hex.Dump(golden))
	}
}

func TestStrangeCommandsAreRefused(t *testing.T) {
	m := New()
	for _, row := range []struct {
		name    string
		command []byte
		want    error
	}{
		{"empty", nil, ErrMalformed},
		{"version alone", []byte{1}, ErrMalformed},
		{"newer version", []byte{2, 1, 0, 0, 0, 0, 0, 0, 0, 1}, ErrUnknown},
		{"newer kind", []byte{1, 200}, ErrUnknown},
		{"kind zero", []byte{1, 0}, ErrUnknown},
		{"short fields", []byte{1, 1, 0, 0, 0, 0, 0, 0, 1}, ErrMalformed},
		{"bytes behind", append(LeaseKeys(1).Bytes(), 0), ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) { refused(t, m, Command[KeyRange]{row.command}, row.want) })
	}
}

func appendSection(out []byte, kind section, content []byte) []byte {
	out = binary.BigEndian.AppendUint32(append(out, byte(kind)), uint32(len(content)))
	return append(out, content...)
}

// reseal gives a snapshot whose bytes were changed a checksum that fits.
func reseal(snapshot []byte) []byte {
	body := snapshot[:len(snapshot)-9]
	return appendSection(slices.Clone(body), sectionEnd,
		binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)))
}

func TestDamagedSnapshotsAreRefused(t *testing.T) {
	m := New()
	apply(t, m, LeaseKeys(1000))
	apply(t, m, AllocateVolumeIDs(7))
	apply(t, m, SetClusterID(ClusterID{9}))
	good := encoded(t, m)
	check := func(t *testing.T, damaged []byte) {
		t.Helper()
		target := New()
		apply(t, target, LeaseKeys(5))
		if err := target.Restore(bytes.NewReader(damaged)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want %v", err, ErrCorrupt)
		}
		if target.LastKey() != 5 {
			t.Errorf("a refused snapshot changed the state")
		}
	}
	for at := range good {
		check(t, good[:at])
		for bit := range 8 {
			flipped := slices.Clone(good)
			flipped[at] ^= 1 << bit
			check(t, flipped)
		}
	}
	check(t, append(slices.Clone(good), 0))
	body := []byte(snapshotMagic + "\x01")
	keys := appendSection(nil, sectionKeys, make([]byte, 8))
	volumes := appendSection(nil, sectionIDs, make([]byte, 4))
	trailer := make([]byte, 9)
	for name, damaged := range map[string][]byte{
		"no sections":     slices.Concat(body, trailer),
		"no keys":         slices.Concat(body, volumes, trailer),
		"no volumes":      slices.Concat(body, keys, trailer),
		"keys twice":      slices.Concat(body, keys, keys, volumes, trailer),
		"wrong order":     slices.Concat(body, volumes, keys, trailer),
		"unknown section": slices.Concat(body, keys, volumes, appendSection(nil, 99, nil), trailer),
		"newer version":   slices.Concat([]byte(snapshotMagic+"\x02"), keys, volumes, trailer),
		"key too high":    slices.Concat(body, appendSection(nil, sectionKeys, bytes.Repeat([]byte{255}, 8)), volumes, trailer),
		"zero cluster id": slices.Concat(body, keys, volumes, appendSection(nil, sectionCluster, make([]byte, 16)), trailer),
		"huge section":    slices.Concat(body, []byte{1, 255, 255, 255, 255}, trailer),
	} {
		t.Run(name, func(t *testing.T) { check(t, reseal(damaged)) })
	}
}
