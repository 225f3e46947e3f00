package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"weed/internal/blob"
)

// Restore replaces the state by a snapshot's. A snapshot that is damaged, cut short, or of a newer kind is
// ErrCorrupt and leaves the state as it was.
func (m *Machine) Restore(from io.Reader) error {
	restored, err := decode(from)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.live = restored
	m.announce()
	return nil
}

// snapshotReader reads sections and sums up what it has read.
type snapshotReader struct {
	from    *bufio.Reader
	sum     hash.Hash32
	content []byte // of the last section
}

// maxContent bounds a section's length, so that a damaged one costs no memory.
var maxContent = map[section]uint32{
	sectionEnd: 4, sectionKeys: 8, sectionIDs: 4, sectionCluster: uint32(len(ClusterID{})),
	sectionCollections: blockRecords * (2 + MaxTextBytes),
	sectionServers:     blockRecords * (4*(2+MaxTextBytes) + 4),
	sectionVolumes:     blockRecords * (22 + 4*MaxMembers),
	sectionRemoved:     blockRecords * 4,
	sectionTokens:      blockRecords * (16 + 8),
	sectionDraining:    blockRecords * (2 + MaxTextBytes),
}

func decode(from io.Reader) (*live, error) {
	r := snapshotReader{from: bufio.NewReaderSize(from, 1<<16), sum: crc32.New(castagnoli)}
	head := make([]byte, len(snapshotMagic)+1)
	if err := r.read(head); err != nil {
		return nil, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrCorrupt)
	}
	if version := head[len(snapshotMagic)]; version != snapshotVersion {
		return nil, fmt.Errorf("%w: version %d is not known", ErrCorrupt, version)
	}
	restored := restoration{live: newLive()}
	last, full := sectionEnd, false // the section before, and whether another of its kind may follow
	for {
		sum := r.sum.Sum32()
		kind, content, err := r.section()
		if err != nil {
			return nil, err
		}
		if kind == sectionEnd {
			if last < sectionIDs {
				return nil, fmt.Errorf("%w: sections are missing", ErrCorrupt)
			}
			if err := restored.finish(); err != nil {
				return nil, err
			}
			return restored.live, r.end(sum, content)
		}
		// The first two sections are always there, so that a snapshot without them is a broken one.
		follows := kind > last && (kind <= last+1 || kind > sectionIDs && last >= sectionIDs)
		if !follows && (kind != last || !full) {
			return nil, fmt.Errorf("%w: section %d after section %d", ErrCorrupt, kind, last)
		}
		last = kind
		if full, err = restored.take(kind, content); err != nil {
			return nil, err
		}
	}
}

// section reads the next section. Its content is valid up to the next call.
func (r *snapshotReader) section() (section, []byte, error) {
	var head [sectionHead]byte
	if err := r.read(head[:]); err != nil {
		return 0, nil, err
	}
	kind := section(head[0])
	most, known := maxContent[kind]
	if !known {
		return 0, nil, fmt.Errorf("%w: section %d is not known", ErrCorrupt, kind)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > most || kind < sectionCollections && size != most {
		return 0, nil, fmt.Errorf("%w: section %d of %d bytes, not %d", ErrCorrupt, kind, size, most)
	}
	if int(size) > len(r.content) {
		r.content = make([]byte, size)
	}
	content := r.content[:size]
	return kind, content, r.read(content)
}

// end checks the checksum and that nothing follows.
func (r *snapshotReader) end(sum uint32, content []byte) error {
	if got := binary.BigEndian.Uint32(content); got != sum {
		return fmt.Errorf("%w: checksum %08x, computed %08x", ErrCorrupt, got, sum)
	}
	switch _, err := r.from.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: bytes behind the end", ErrCorrupt)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read snapshot: %w", err)
	}
	return nil
}

func (r *snapshotReader) read(into []byte) error {
	if _, err := io.ReadFull(r.from, into); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: cut short", ErrCorrupt)
		}
		return fmt.Errorf("read snapshot: %w", err)
	}
	r.sum.Write(into)
	return nil
}

// restoration is a state that is being put together from sections. It takes only what snapshot writes, in
// that order, so that a state has one encoding.
type restoration struct {
	live        *live
	collections []string
	servers     []ServerID
	lastID      blob.VolumeID // of the last volume
}

// take takes in a section. full says that it has as many records as a section can have.
func (r *restoration) take(kind section, content []byte) (full bool, err error) {
	f := fields{rest: content}
	switch kind {
	case sectionKeys:
		if r.live.lastKey = blob.Key(f.u64()); r.live.lastKey > MaxKey {
			f.fail("key %d is outside of the sequence", r.live.lastKey)
		}
	case sectionIDs:
		r.live.lastVolume = blob.VolumeID(f.u32())
	case sectionCluster:
		if r.live.cluster = ClusterID(f.take(len(ClusterID{}))); r.live.cluster == (ClusterID{}) {
			f.fail("zero cluster id")
		}
	case sectionCollections:
		full = f.each(r.collection)
	case sectionServers:
		full = f.each(r.server)
	case sectionVolumes:
		full = f.each(r.volume)
	case sectionRemoved:
		full = f.each(r.removed)
	case sectionTokens:
		full = f.each(r.growth)
	case sectionDraining:
		full = f.each(r.draining)
	}
	if f.err != nil {
		return false, fmt.Errorf("%w: section %d: %w", ErrCorrupt, kind, f.err)
	}
	return full, nil
}

// each reads records up to the end, at least one. It reports whether they are as many as there can be.
func (f *fields) each(record func(*fields)) (full bool) {
	n := 0
	for ; n == 0 || len(f.rest) > 0; n++ {
		if n == blockRecords {
			f.fail("more than %d records", n)
			return false
		}
		record(f)
	}
	return n == blockRecords
}

func (r *restoration) collection(f *fields) {
	name := f.text()
	if n := len(r.collections); n > 0 && name <= r.collections[n-1] {
		f.fail("collection %q is out of order", name)
	}
	r.collections = append(r.collections, name)
}

func (r *restoration) server(f *fields) {
	s := f.putServer().server
	if n := len(r.servers); n > 0 && s.ID <= r.servers[n-1] || n >= MaxServers {
		f.fail("server %q is out of order or one too many", s.ID)
	}
	if f.err == nil {
		r.servers = append(r.servers, s.ID)
		r.live.putServer(nil, s)
	}
}

func (r *restoration) volume(f *fields) {
	v := &Volume{ID: f.volumeID()}
	if v.ID <= r.lastID || v.ID > r.live.lastVolume || r.live.count >= MaxVolumes {
		f.fail("volume %d is out of order, not given out, or one too many", v.ID)
	}
	r.lastID = v.ID
	v.Collection = pick(f, r.collections)
	v.Placement = blob.PlacementFromByte(f.u8())
	v.TTL = blob.TTL{Count: f.u8(), Unit: blob.TTLUnit(f.u8())}
	v.DiskVersion = f.u8()
	f.check(v.Layout.check)
	if v.State = VolumeState(f.u8()); !v.State.valid() {
		f.fail("volume %d: %s", v.ID, v.State)
	}
	v.Epoch = f.epoch(MaxEpoch)
	n := f.u8()
	if n == 0 || n > MaxMembers {
		f.fail("%d members", n)
		return
	}
	v.Members = make([]ServerID, n)
	for i := range v.Members {
		v.Members[i] = pick(f, r.servers)
	}
	v.Primary = v.Members[0]
	f.check(v.checkOrder)
	if f.err == nil {
		r.live.put(nil, v)
	}
}

// pick reads the position of a name and returns the name.
func pick[T ~string](f *fields, names []T) T {
	i := f.u32()
	if i >= uint32(len(names)) {
		f.fail("name %d of %d", i, len(names))
		return ""
	}
	return names[i]
}

func (r *restoration) removed(f *fields) {
	id := f.volumeID()
	last := r.live.removed.last()
	if id <= last || id > r.live.lastVolume || find(r.live.volumes, id) != nil {
		f.fail("removed volume %d is out of order, not given out, or there", id)
	}
	if f.err == nil {
		r.live.removed.set(r.live.edit, id, struct{}{})
	}
}

func (r *restoration) growth(f *fields) {
	g := growth{Token(f.take(len(Token{}))), VolumeIDRange{f.volumeID(), f.volumeID()}}
	if g.ids.First > g.ids.Last || g.ids.Last-g.ids.First >= MaxBatch || g.ids.Last > r.live.lastVolume {
		f.fail("token for volumes %d to %d", g.ids.First, g.ids.Last)
	}
	if _, twice := r.live.tokens[g.token]; twice || g.token == (Token{}) || len(r.live.tokens) >= MaxTokens {
		f.fail("token %x is zero, there already, or one too many", g.token)
	}
	if f.err == nil {
		r.live.remember(g)
	}
}

func (r *restoration) draining(f *fields) {
	id := ServerID(f.text())
	known := r.live.known[id]
	if n := len(r.live.draining); known == nil || n > 0 && id <= r.live.draining[n-1] {
		f.fail("draining server %q is out of order or has no record", id)
		return
	}
	r.live.draining = append(r.live.draining, known.ID)
}

// finish checks what only the whole shows.
func (r *restoration) finish() error {
	if used := r.live.collections.shelves.len; used != len(r.collections) {
		return fmt.Errorf("%w: %d collections for volumes of %d", ErrCorrupt, len(r.collections), used)
	}
	return nil
}
