package state

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"

	"weed/internal/blob"
)

const (
	snapshotMagic   = "WSTA"
	snapshotVersion = 1
	sectionHead     = 5 // kind and length
	// blockRecords is the number of records of a section of records, but for the last one of its kind.
	blockRecords = 1024
)

type section byte

const (
	sectionEnd         section = 0
	sectionKeys        section = 1
	sectionIDs         section = 2
	sectionCluster     section = 3
	sectionCollections section = 4 // the first kind whose sections hold records
	sectionServers     section = 5
	sectionVolumes     section = 6
	sectionRemoved     section = 7
	sectionTokens      section = 8
	sectionDraining    section = 9
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot returns the state as it is now. It is encoded while it is written.
func (m *Machine) Snapshot() (io.WriterTo, error) { return &snapshot{&m.View().records}, nil }

// snapshot is a state that never changes.
type snapshot struct{ records *records }

// WriteTo writes the state in the form of the package comment.
func (s *snapshot) WriteTo(to io.Writer) (int64, error) {
	w := &snapshotWriter{to: bufio.NewWriterSize(to, 1<<16)}
	w.write(append([]byte(snapshotMagic), snapshotVersion))
	r := s.records
	w.section(sectionKeys, binary.BigEndian.AppendUint64(nil, uint64(r.lastKey)))
	w.section(sectionIDs, binary.BigEndian.AppendUint32(nil, uint32(r.lastVolume)))
	if r.cluster != (ClusterID{}) {
		w.section(sectionCluster, r.cluster[:])
	}
	collections := map[string]uint32{}
	r.collections.shelves.each(func(name string, _ *shelf[string]) bool {
		collections[name] = uint32(len(collections))
		return w.record(appendText(w.block(sectionCollections), name))
	})
	servers := make(map[ServerID]uint32, r.servers.len)
	r.servers.each(func(id ServerID, at *member) bool {
		servers[id] = uint32(len(servers))
		return w.record(appendServer(w.block(sectionServers), at.Server))
	})
	for v := range eachVolume(r.volumes) {
		if !w.record(appendVolume(w.block(sectionVolumes), v, collections, servers)) {
			break
		}
	}
	r.removed.each(func(id blob.VolumeID, _ struct{}) bool {
		return w.record(binary.BigEndian.AppendUint32(w.block(sectionRemoved), uint32(id)))
	})
	for _, g := range r.growths {
		w.record(appendGrowth(w.block(sectionTokens), g))
	}
	for _, id := range r.draining {
		w.record(appendText(w.block(sectionDraining), string(id)))
	}
	w.flush()
	w.section(sectionEnd, binary.BigEndian.AppendUint32(nil, w.sum))
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return w.written, w.err
}

func appendServer(b []byte, s *Server) []byte {
	b = appendText(appendText(b, string(s.ID)), s.PublicURL)
	b = appendText(appendText(b, s.DataCenter), s.Rack)
	return binary.BigEndian.AppendUint32(b, s.Slots)
}

// appendVolume writes a volume with collection and members as their positions among the sections before.
func appendVolume(b []byte, v *Volume, collections map[string]uint32, servers map[ServerID]uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(v.ID))
	b = binary.BigEndian.AppendUint32(b, collections[v.Collection])
	count, unit := v.TTL.Bytes()
	b = append(b, v.Placement.Byte(), count, unit, v.DiskVersion, byte(v.State))
	b = binary.BigEndian.AppendUint64(b, v.Epoch)
	b = append(b, byte(len(v.Members)))
	for _, member := range v.Members {
		b = binary.BigEndian.AppendUint32(b, servers[member])
	}
	return b
}

func appendGrowth(b []byte, g growth) []byte {
	b = binary.BigEndian.AppendUint32(append(b, g.token[:]...), uint32(g.ids.First))
	return binary.BigEndian.AppendUint32(b, uint32(g.ids.Last))
}

// snapshotWriter writes sections and sums up what it has written. After the first error it writes nothing.
type snapshotWriter struct {
	to      *bufio.Writer
	sum     uint32
	written int64
	err     error

	kind    section // of waiting
	waiting []byte  // records that are to be written as one section
	records int     // in waiting
}

func (w *snapshotWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	w.sum = crc32.Update(w.sum, castagnoli, b)
	var n int
	n, w.err = w.to.Write(b)
	w.written += int64(n)
}

func (w *snapshotWriter) section(kind section, content []byte) {
	w.write(binary.BigEndian.AppendUint32([]byte{byte(kind)}, uint32(len(content))))
	w.write(content)
}

// block returns the records of a kind that are waiting, for one more to be appended.
func (w *snapshotWriter) block(kind section) []byte {
	if kind != w.kind {
		w.flush()
		w.kind = kind
	}
	return w.waiting
}

// record takes the block back with the record appended. It is false when there is no use in going on.
func (w *snapshotWriter) record(block []byte) bool {
	w.waiting = block
	if w.records++; w.records == blockRecords {
		w.flush()
	}
	return w.err == nil
}

// flush writes the records that are waiting.
func (w *snapshotWriter) flush() {
	if w.records > 0 {
		w.section(w.kind, w.waiting)
	}
	w.waiting, w.records = w.waiting[:0], 0
}
