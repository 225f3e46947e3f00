package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"weed/internal/blob"
)

const (
	snapshotMagic   = "WSTA"
	snapshotVersion = 1
	sectionHead     = 5 // kind and length
)

type section byte

const (
	sectionEnd     section = 0
	sectionKeys    section = 1
	sectionVolumes section = 2
	sectionCluster section = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Snapshot returns the state as it is now, encoded.
func (m *Machine) Snapshot() (io.WriterTo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return bytes.NewReader(m.encode()), nil
}

func (r *records) encode() []byte {
	out := append([]byte(snapshotMagic), snapshotVersion)
	out = appendSection(out, sectionKeys, binary.BigEndian.AppendUint64(nil, uint64(r.lastKey)))
	out = appendSection(out, sectionVolumes, binary.BigEndian.AppendUint32(nil, uint32(r.lastVolume)))
	if r.cluster != (ClusterID{}) {
		out = appendSection(out, sectionCluster, r.cluster[:])
	}
	sum := crc32.Checksum(out, castagnoli)
	return appendSection(out, sectionEnd, binary.BigEndian.AppendUint32(nil, sum))
}

func appendSection(out []byte, kind section, content []byte) []byte {
	out = append(out, byte(kind))
	out = binary.BigEndian.AppendUint32(out, uint32(len(content)))
	return append(out, content...)
}

// Restore replaces the state by a snapshot's. A snapshot that is damaged, cut short, or of a newer kind is
// ErrCorrupt and leaves the state as it was.
func (m *Machine) Restore(from io.Reader) error {
	restored, err := decode(from)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = restored
	return nil
}

// snapshotReader reads sections and sums up what it has read.
type snapshotReader struct {
	from *bufio.Reader
	sum  hash.Hash32
}

func decode(from io.Reader) (records, error) {
	r := snapshotReader{from: bufio.NewReader(from), sum: crc32.New(castagnoli)}
	head := make([]byte, len(snapshotMagic)+1)
	if err := r.read(head); err != nil {
		return records{}, err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return records{}, fmt.Errorf("%w: it does not begin as one", ErrCorrupt)
	}
	if version := head[len(snapshotMagic)]; version != snapshotVersion {
		return records{}, fmt.Errorf("%w: version %d is not known", ErrCorrupt, version)
	}
	var restored records
	last := sectionEnd
	for {
		sum := r.sum.Sum32()
		kind, content, err := r.section()
		if err != nil {
			return records{}, err
		}
		if kind == sectionEnd {
			if last < sectionVolumes {
				return records{}, fmt.Errorf("%w: sections are missing", ErrCorrupt)
			}
			return restored, r.end(sum, content)
		}
		// The first two sections are always there, so that a snapshot without them is a broken one.
		if kind <= last || kind > last+1 && kind <= sectionVolumes {
			return records{}, fmt.Errorf("%w: section %d after section %d", ErrCorrupt, kind, last)
		}
		last = kind
		if err := restored.set(kind, content); err != nil {
			return records{}, err
		}
	}
}

// section reads the next section. Its length is fixed by its kind, so a damaged one costs no memory.
func (r *snapshotReader) section() (section, []byte, error) {
	var head [sectionHead]byte
	if err := r.read(head[:]); err != nil {
		return 0, nil, err
	}
	kind := section(head[0])
	want := map[section]uint32{
		sectionEnd: 4, sectionKeys: 8, sectionVolumes: 4, sectionCluster: uint32(len(ClusterID{})),
	}
	size, known := want[kind]
	if !known {
		return 0, nil, fmt.Errorf("%w: section %d is not known", ErrCorrupt, kind)
	}
	if got := binary.BigEndian.Uint32(head[1:]); got != size {
		return 0, nil, fmt.Errorf("%w: section %d of %d bytes, not %d", ErrCorrupt, kind, got, size)
	}
	content := make([]byte, size)
	return kind, content, r.read(content)
}

func (r *records) set(kind section, content []byte) error {
	switch kind {
	case sectionKeys:
		r.lastKey = blob.Key(binary.BigEndian.Uint64(content))
		if r.lastKey > MaxKey {
			return fmt.Errorf("%w: key %d is outside of the sequence", ErrCorrupt, r.lastKey)
		}
	case sectionVolumes:
		r.lastVolume = blob.VolumeID(binary.BigEndian.Uint32(content))
	case sectionCluster:
		r.cluster = ClusterID(content)
		if r.cluster == (ClusterID{}) {
			return fmt.Errorf("%w: zero cluster id", ErrCorrupt)
		}
	}
	return nil
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
