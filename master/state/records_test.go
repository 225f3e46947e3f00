package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"weed/internal/blob"
)

// local proposes to a machine as a cluster of one would.
type local struct {
	machine  *Machine
	proposed int
}

func (l *local) Propose(_ context.Context, command []byte) (any, error) {
	l.proposed++
	result := l.machine.Apply(command)
	if err, refused := result.(error); refused {
		return nil, err
	}
	return result, nil
}

func TestLostRaceTellsTheWinner(t *testing.T) {
	to := &local{machine: populated(t)}
	winner, err := Only(Do(t.Context(), to, Reconfigure([]GroupChange{{1, 2, Group{"b:2", []ServerID{"c:3", "b:2", "a:1"}}}})))
	if err != nil || winner.Epoch != 3 || winner.Primary != "b:2" || !slices.Equal(winner.Members, []ServerID{"b:2", "a:1", "c:3"}) {
		t.Fatalf("new group: %+v, %v", winner, err)
	}
	current, err := Only(Do(t.Context(), to, Reconfigure([]GroupChange{{1, 2, Group{"a:1", []ServerID{"a:1"}}}})))
	var lost *ConflictError
	if !errors.Is(err, ErrConflict) || !errors.As(err, &lost) || lost.Current != winner || current != winner {
		t.Errorf("the slower one got %+v, %v", current, err)
	}
	if want := "volume 1 is writable in epoch 3 with primary b:2 and members [b:2 a:1 c:3]"; err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
	if found, _ := to.machine.Volume(1); found != winner {
		t.Errorf("the record is %+v", found)
	}
}

func TestMembersMustBeKnown(t *testing.T) {
	to := &local{machine: populated(t)}
	before := to.machine.View()
	stranger := Group{"z:9", []ServerID{"a:1", "z:9"}}
	if v, err := Only(Do(t.Context(), to, Reconfigure([]GroupChange{{1, 2, stranger}}))); !errors.Is(err, ErrNoServer) || v.Epoch != 2 {
		t.Errorf("new group: %+v, %v", v, err)
	}
	adopted := Volume{ID: 90, Layout: Layout{DiskVersion: 3}, State: Writable, Epoch: 1, Group: stranger}
	if v, err := Only(Do(t.Context(), to, AdoptVolumes([]Volume{adopted}))); !errors.Is(err, ErrNoServer) || v != nil {
		t.Errorf("adoption: %+v, %v", v, err)
	}
	if to.machine.View() != before {
		t.Errorf("something changed")
	}
	if _, err := Do(t.Context(), to, RemoveServer("z:9")); err != nil {
		t.Error(err)
	}
	if there, ok := to.machine.Server("z:9"); ok {
		t.Errorf("server %+v", there)
	}
}

func TestMalformedCommandsAreNotProposed(t *testing.T) {
	to := &local{machine: populated(t)}
	if _, err := Only(Do(t.Context(), to, Reconfigure([]GroupChange{{1, 2, Group{"b:2", []ServerID{"a:1"}}}}))); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v", err)
	}
	if to.proposed != 0 {
		t.Errorf("it was proposed")
	}
}

func TestCommandsBeyondLimitsAreRefused(t *testing.T) {
	m := populated(t)
	one := Layout{DiskVersion: 3}
	alone := Group{"a:1", []ServerID{"a:1"}}
	many := make([]ServerID, 300)
	for i := range many {
		many[i] = ServerID(fmt.Sprintf("a:%d", i))
	}
	long := strings.Repeat("x", 70_000)
	create := func(l Layout, g ...Group) []byte { return CreateVolumes(Token{99}, l, g).Bytes() }
	adopt := func(v Volume) []byte { return AdoptVolumes([]Volume{v}).Bytes() }
	regroup := func(id blob.VolumeID, epoch uint64, g Group) []byte {
		return Reconfigure([]GroupChange{{id, epoch, g}}).Bytes()
	}
	states := func(c ...StateChange) []byte { return SetStates(c).Bytes() }
	for name, command := range map[string][]byte{
		"no volumes":            create(one),
		"too many volumes":      create(one, slices.Repeat([]Group{alone}, MaxBatch+1)...),
		"zero token":            CreateVolumes(Token{}, one, []Group{alone}).Bytes(),
		"no members":            create(one, Group{}),
		"copies missing":        create(Layout{Placement: blob.Placement{Servers: 1}, DiskVersion: 3}, alone),
		"copies too many":       create(one, Group{"a:1", []ServerID{"a:1", "b:2"}}),
		"collection":            create(Layout{Collection: "../x", DiskVersion: 3}, alone),
		"long collection":       create(Layout{Collection: long, DiskVersion: 3}, alone),
		"placement":             create(Layout{Placement: blob.Placement{DataCenters: 9}, DiskVersion: 3}, alone),
		"ttl":                   create(Layout{TTL: blob.TTL{Count: 1, Unit: 99}, DiskVersion: 3}, alone),
		"disk version":          create(Layout{}, alone),
		"adopt creating":        adopt(Volume{90, one, Creating, 1, alone}),
		"adopt deleting":        adopt(Volume{90, one, Deleting, 1, alone}),
		"adopt 0":               adopt(Volume{0, one, Writable, 1, alone}),
		"adopt a high id":       adopt(Volume{MaxAdopted + 1, one, Writable, 1, alone}),
		"adopt epoch 0":         adopt(Volume{90, one, Writable, 0, alone}),
		"adopt a high epoch":    adopt(Volume{90, one, Writable, MaxEpoch + 1, alone}),
		"adopt twice":           AdoptVolumes([]Volume{{90, one, Writable, 1, alone}, {90, one, Writable, 1, alone}}).Bytes(),
		"back to creating":      states(StateChange{1, 2, Writable, Creating}),
		"back from deleting":    states(StateChange{1, 2, Deleting, Writable}),
		"to itself":             states(StateChange{1, 2, Writable, Writable}),
		"unknown state":         states(StateChange{1, 2, Writable, 9}),
		"volume twice":          states(StateChange{1, 2, Writable, ReadOnly}, StateChange{2, 1, Creating, Writable}, StateChange{1, 2, ReadOnly, Writable}),
		"last epoch":            regroup(1, MaxEpoch, alone),
		"primary no member":     regroup(1, 2, Group{"b:2", []ServerID{"a:1"}}),
		"member twice":          regroup(1, 2, Group{"a:1", []ServerID{"a:1", "b:2", "b:2"}}),
		"primary twice":         regroup(1, 2, Group{"a:1", []ServerID{"a:1", "a:1"}}),
		"too many members":      regroup(1, 2, Group{"a:1", many[:MaxMembers+1]}),
		"far too many members":  regroup(1, 2, Group{"a:1", many}),
		"long member":           regroup(1, 2, Group{ServerID(long), []ServerID{ServerID(long)}}),
		"member with space":     regroup(1, 2, Group{"a b", []ServerID{"a b"}}),
		"no name":               PutServer(Server{DataCenter: "x"}).Bytes(),
		"long name":             PutServer(Server{ID: ServerID(long[:MaxTextBytes+1])}).Bytes(),
		"rack with line break":  PutServer(Server{ID: "a:1", Rack: "a\nb"}).Bytes(),
		"data center no UTF-8":  PutServer(Server{ID: "a:1", DataCenter: "\xff"}).Bytes(),
		"remove nothing":        RemoveVolumes(nil).Bytes(),
		"remove 0":              RemoveVolumes([]blob.VolumeID{0}).Bytes(),
		"remove too many":       RemoveVolumes(make([]blob.VolumeID, MaxBatch+1)).Bytes(),
		"count without volumes": {1, byte(kindRemoveVolumes), 0, 0, 16, 0},
		"too long":              append(RemoveVolumes([]blob.VolumeID{1}).Bytes(), make([]byte, MaxCommandBytes)...),
	} {
		t.Run(name, func(t *testing.T) { refused(t, m, Command[KeyRange]{command}, ErrMalformed) })
	}
	refused(t, m, CreateVolumes(Token{99}, one, []Group{alone, {"z:9", []ServerID{"z:9"}}}), ErrNoServer)
	refused(t, m, RemoveServer("a:1"), ErrServerInUse)
	refused(t, m, CreateVolumes(Token{1}, one, []Group{alone}), ErrMalformed) // the token was for two
}

func TestStateIsBounded(t *testing.T) {
	m := populated(t)
	one, alone := Layout{DiskVersion: 3}, Group{"a:1", []ServerID{"a:1"}}
	count, servers := m.live.count, m.live.servers.len
	m.live.count = MaxVolumes - 1
	refused(t, m, CreateVolumes(Token{99}, one, []Group{alone, alone}), ErrExhausted)
	m.live.count = MaxVolumes
	if _, err := Only(AdoptVolumes([]Volume{{90, one, Writable, 1, alone}}).Result(
		m.Apply(AdoptVolumes([]Volume{{90, one, Writable, 1, alone}}).Bytes()))); !errors.Is(err, ErrExhausted) {
		t.Errorf("one volume too many was adopted: %v", err)
	}
	m.live.count, m.live.servers.len = count, MaxServers
	refused(t, m, PutServer(Server{ID: "new:1"}), ErrExhausted)
	apply(t, m, PutServer(Server{ID: "a:1", Rack: "moved"}))
	m.live.servers.len = servers
	apply(t, m, RaiseVolumeID(1<<32-2))
	refused(t, m, CreateVolumes(Token{99}, one, []Group{alone, alone}), ErrExhausted)
}

func TestOldestTokenIsForgotten(t *testing.T) {
	m := populated(t)
	create := func(i int) Command[VolumeIDRange] {
		return CreateVolumes(Token{byte(i), byte(i >> 8), 77}, Layout{DiskVersion: 3}, []Group{{"a:1", []ServerID{"a:1"}}})
	}
	first := make([]VolumeIDRange, MaxTokens+1)
	for i := range first {
		first[i] = apply(t, m, create(i))
	}
	if len(m.live.growths) != MaxTokens || len(m.live.tokens) != MaxTokens {
		t.Errorf("%d tokens, %d in the index", len(m.live.growths), len(m.live.tokens))
	}
	for i := MaxTokens; i > 0; i-- {
		if got := apply(t, m, create(i)); got != first[i] {
			t.Fatalf("token %d: %v, first %v", i, got, first[i])
		}
	}
	if got := apply(t, m, create(0)); got == first[0] {
		t.Errorf("token 0 is still known")
	}
}

// TestRecordBytes pins the sections of records, put together by hand from the table in the package comment.
func TestRecordBytes(t *testing.T) {
	layout := pinnedLayout
	layout.Placement = blob.Placement{Racks: 1}
	m := New()
	apply(t, m, PutServer(Server{"b:2", "q", "d", "r", 258}))
	apply(t, m, PutServer(Server{"a:1", "p", "d", "", 7}))
	apply(t, m, CreateVolumes(Token{0xaa, 15: 0xbb}, layout, []Group{{"b:2", []ServerID{"a:1", "b:2"}}, {"a:1", []ServerID{"a:1", "b:2"}}}))
	apply(t, m, SetStates([]StateChange{{1, 1, Creating, Deleting}, {2, 1, Creating, Writable}}))
	apply(t, m, RemoveVolumes([]blob.VolumeID{1}))
	apply(t, m, Reconfigure([]GroupChange{{2, 1, Group{"b:2", []ServerID{"a:1", "b:2"}}}}))
	want, err := hex.DecodeString("57535441" + "01" +
		"01" + "00000008" + "0000000000000000" +
		"02" + "00000004" + "00000002" +
		"04" + "00000005" + "0003706963" +
		"05" + "00000023" + "0003613a31" + "000170" + "000164" + "0000" + "00000007" +
		"0003623a32" + "000171" + "000164" + "000172" + "00000102" +
		"06" + "0000001e" + "00000002" + "00000000" + "0a" + "0503" + "03" + "02" + "0000000000000002" +
		"02" + "00000001" + "00000000" +
		"07" + "00000004" + "00000001" +
		"08" + "00000018" + "aa0000000000000000000000000000bb" + "00000001" + "00000002")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, make([]byte, 9)...)
	if got := encoded(t, m); !bytes.Equal(got, reseal(want)) {
		t.Errorf("encoded\n%swant\n%s", hex.Dump(got), hex.Dump(reseal(want)))
	}
}

// TestDamagedRecordsAreRefused puts every value into every byte of a snapshot under a checksum that fits: what
// is not refused must be a sound state, of which this is the encoding.
func TestDamagedRecordsAreRefused(t *testing.T) {
	good := encoded(t, populated(t))
	accepted := 0
	for at := range good[:len(good)-9] {
		for value := range 256 {
			damaged := slices.Clone(good)
			damaged[at] = byte(value)
			damaged = reseal(damaged)
			m := New()
			if err := m.Restore(bytes.NewReader(damaged)); err != nil {
				if !errors.Is(err, ErrCorrupt) || m.Revision() != 0 {
					t.Fatalf("byte %d = %d: error %v", at, value, err)
				}
				continue
			}
			accepted++
			if !bytes.Equal(encoded(t, m), damaged) {
				t.Fatalf("byte %d = %d is accepted, but not what the state encodes to", at, value)
			}
		}
	}
	if accepted < len(good)-9 {
		t.Errorf("only %d accepted: not even the undamaged ones", accepted)
	}
	for n := range good {
		if err := New().Restore(bytes.NewReader(good[:n])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

// TestSectionsOfManyRecords goes over the size of a section, for each kind of record.
func TestSectionsOfManyRecords(t *testing.T) {
	for _, n := range []int{blockRecords - 1, blockRecords, 2*blockRecords + 1} {
		m := New()
		for i := range n {
			id := ServerID(fmt.Sprintf("s:%d", i))
			apply(t, m, PutServer(Server{ID: id}))
			made := apply(t, m, CreateVolumes(Token{byte(i), byte(i >> 8), 1}, Layout{Collection: fmt.Sprint("c", i), DiskVersion: 3},
				[]Group{{id, []ServerID{id}}}))
			gone := apply(t, m, CreateVolumes(Token{byte(i), byte(i >> 8), 2}, Layout{DiskVersion: 3}, []Group{{id, []ServerID{id}}}))
			apply(t, m, SetStates([]StateChange{{gone.First, 1, Creating, Deleting}, {made.First, 1, Creating, Writable}}))
			apply(t, m, RemoveVolumes([]blob.VolumeID{gone.First}))
		}
		snapshot := encoded(t, m)
		restored := New()
		if err := restored.Restore(bytes.NewReader(snapshot)); err != nil {
			t.Fatalf("%d records: %v", n, err)
		}
		if v := restored.View(); !bytes.Equal(encoded(t, restored), snapshot) || v.VolumeCount() != n || v.ServerCount() != n || !v.Removed(2) {
			t.Errorf("%d records: %d volumes, %d servers", n, v.VolumeCount(), v.ServerCount())
		}
		checkIndexes(t, restored.View())
	}
	short := appendSection(nil, sectionCollections, appendText(nil, "a"))
	head := encoded(t, New())
	head = head[:len(head)-9]
	for name, sections := range map[string][]byte{
		"behind a short one": append(slices.Clone(short), appendSection(nil, sectionCollections, appendText(nil, "b"))...),
		"unused names":       short,
		"empty":              appendSection(nil, sectionCollections, nil),
		"huge":               {byte(sectionServers), 255, 255, 255, 255},
	} {
		if err := New().Restore(bytes.NewReader(reseal(slices.Concat(head, sections, make([]byte, 9))))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("section %s: %v", name, err)
		}
	}
}

func TestChangesAreAnnounced(t *testing.T) {
	m := populated(t)
	changed, revision := m.Changed(), m.Revision()
	apply(t, m, PutServer(Server{ID: "a:1", PublicURL: "p.a:1", DataCenter: "dc1", Rack: "ä", Slots: 7})) // as it is
	select {
	case <-changed:
		t.Fatal("announced what changed nothing")
	default:
	}
	before := m.View()
	apply(t, m, SetStates([]StateChange{{1, 2, Writable, ReadOnly}}))
	<-changed
	if m.Revision() != revision+1 || m.View().Revision() != revision+1 || before.Revision() != revision {
		t.Errorf("revision %d after %d", m.Revision(), revision)
	}
	if v := m.View(); !v.SameServers(before) || v != m.View() {
		t.Errorf("other servers, or another view of the same state")
	}
	apply(t, m, PutServer(Server{ID: "a:1", Rack: "other"}))
	if m.View().SameServers(before) {
		t.Errorf("the change of a server does not show")
	}
	changed = m.Changed()
	if err := m.Restore(bytes.NewReader(encodedView(t, before))); err != nil {
		t.Fatal(err)
	}
	<-changed
	if s, ok := m.Server("a:1"); !ok || s.Rack != "ä" {
		t.Errorf("server %+v after Restore", s)
	}
	for was, is := range m.View().ChangesSince(before) {
		if volumeText(was) != volumeText(is) {
			t.Errorf("%s became %s", volumeText(was), volumeText(is))
		}
	}
}

// TestReadersDuringChanges is for the race detector: readers see whole records, and epochs that only grow.
func TestReadersDuringChanges(t *testing.T) {
	m := populated(t)
	done := make(chan struct{})
	var readers sync.WaitGroup
	reader := func(read func()) {
		readers.Go(func() {
			for {
				read()
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var last uint64
	reader(func() {
		if v, ok := m.Volume(1); !ok || v.Epoch < last || v.Primary != v.Members[0] {
			t.Errorf("volume %+v after epoch %d", v, last)
		} else {
			last = v.Epoch
		}
	})
	reader(func() {
		if s, ok := m.Server("a:1"); !ok || s.ID != "a:1" {
			t.Errorf("server %+v", s)
		}
	})
	reader(func() { checkIndexes(t, m.View()) })
	reader(func() {
		if err := New().Restore(bytes.NewReader(encoded(t, m))); err != nil {
			t.Error(err)
		}
	})
	groups := []Group{{"a:1", []ServerID{"a:1"}}, {"b:2", []ServerID{"a:1", "b:2", "c:3"}}}
	for epoch := uint64(2); epoch < 1000; epoch++ {
		apply(t, m, Reconfigure([]GroupChange{{1, epoch, groups[epoch%2]}}))
		apply(t, m, CreateVolumes(Token{byte(epoch), byte(epoch >> 8), 3}, Layout{DiskVersion: 3}, groups[:1]))
		apply(t, m, PutServer(Server{ID: "a:1", Slots: uint32(epoch)}))
	}
	close(done)
	readers.Wait()
}

func TestIterationEndsWhereTheReaderEndsIt(t *testing.T) {
	v := populated(t).View()
	first := func(volumes iter.Seq[*Volume]) (id blob.VolumeID) {
		for volume := range volumes {
			return volume.ID
		}
		return 0
	}
	for name, got := range map[string]blob.VolumeID{
		"Volumes": first(v.Volumes()), "VolumesIn": first(v.VolumesIn("pictures")), "VolumesOn": first(v.VolumesOn("a:1")),
	} {
		if got != 1 {
			t.Errorf("%s begins with volume %d", name, got)
		}
	}
	if got := first(v.VolumesIn("none")) + first(v.VolumesOn("z:9")); got != 0 {
		t.Errorf("volume %d of nobody", got)
	}
	for s := range v.Servers() {
		if s.ID != "a:1" {
			t.Errorf("Servers begins with %s", s.ID)
		}
		break
	}
	for name, count := range v.Collections() {
		if name != "old" || count != 1 {
			t.Errorf("Collections begins with %q of %d", name, count)
		}
		break
	}
	for was, is := range v.ChangesSince(New().View()) {
		if was != nil || is.ID != 1 {
			t.Errorf("ChangesSince begins with %v and %v", was, is)
		}
		break
	}
}

// TestSnapshotStopsAtAFailedWrite writes to a disk that is full after a while.
func TestSnapshotStopsAtAFailedWrite(t *testing.T) {
	m := populated(t)
	for i := range 100 {
		groups := slices.Repeat([]Group{{"a:1", []ServerID{"a:1"}}}, 1000)
		apply(t, m, CreateVolumes(Token{5, byte(i)}, Layout{DiskVersion: 3}, groups))
	}
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	disk := fullDisk{room: 1 << 18}
	if n, err := s.WriteTo(&disk); !errors.Is(err, errFull) || disk.writes > 10 || n > 1<<20 {
		t.Errorf("%d bytes, %v, after %d writes", n, err, disk.writes)
	}
}

var errFull = errors.New("disk full")

type fullDisk struct{ room, writes int }

func (d *fullDisk) Write(b []byte) (int, error) {
	d.writes++
	if d.room -= len(b); d.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}
