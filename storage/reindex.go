package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage/index"
)

// The index is made of headers, which no checksum covers. One that had flipped when recovery read it, before it was in
// `.idx`, is mended like all that other copies have otherwise; what the index has learnt from it is corrected then.

// correctIndex has the index tell of the record at an offset what its header says, which is known to be right. It does
// nothing if it does so. Errors: ErrUnfit for an index of another program, ErrCompacting if there is something to correct
// meanwhile, ErrCompacted when the log is replaced or cut, ErrClosed, or the disk's.
func (v *Volume) correctIndex(of *content, offset int64, h header) error {
	result := make(chan error, 1)
	taken := v.committer.post(func() {
		if v.content.Load() != of {
			result <- ErrCompacted
			return
		}
		result <- v.committer.correctIndex(entryOf(h, offset))
	})
	if !taken {
		return fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	return <-result
}

func (c *committer) correctIndex(right idxEntry) error {
	w := c.idx
	if c.v.foreign || w.off {
		return ErrUnfit
	}
	flushed := w.flush()
	number, wrong, err := findEntry(w.f, w.at, right.offset)
	if err == nil && wrong == right { // whether there is room for others or not
		return nil
	}
	if err := errors.Join(flushed, err); err != nil {
		return err
	}
	if !c.v.compacting.CompareAndSwap(false, true) { // it goes by the index
		return ErrCompacting
	}
	defer c.v.compacting.Store(false)
	w.dirty = true
	if _, err := w.f.WriteAt(right.appendTo(nil), number*idxEntrySize); err != nil {
		return diskError(err)
	}
	if err := c.correctSums(number); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	c.v.cfg.Logger.Warn("an entry of the index was made of a damaged header, and is corrected", "volume", c.v.id,
		"offset", int64(right.offset)*needleAlignment, "key", right.key, "was", wrong.key)
	return c.indexAnew(wrong.key, right.key)
}

// correctSums makes the sums of the block that has an entry those of what the file has now.
func (c *committer) correctSums(entry int64) error {
	w := c.idx
	if w.sums == nil {
		return nil
	}
	block := entry / sumRecords
	entries := make([]byte, min(sumBlockBytes, w.at-block*sumBlockBytes))
	if err := readFull(w.f, entries, block*sumBlockBytes); err != nil {
		return err
	}
	w.sums.replaced(int(block), entries)
	return nil
}

// indexAnew finds the last entry of each of two keys in the index file, and makes it what the index says.
func (c *committer) indexAnew(keys ...blob.Key) error {
	last := make(map[blob.Key]idxEntry, len(keys))
	for _, key := range keys {
		last[key] = idxEntry{key: key, size: tombstoneSize}
	}
	buf := make([]byte, idxFlushBytes)
	for at := int64(0); at < c.idx.at; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), c.idx.at-at)]
		if err := readFull(c.idx.f, buf, at); err != nil {
			return err
		}
		for i := 0; i+idxEntrySize <= len(buf); i += idxEntrySize {
			e := parseIdxEntry(buf[i:])
			if _, asked := last[e.key]; asked {
				last[e.key] = e
			}
		}
	}
	for key, e := range last {
		if e.deleted() {
			c.v.index().Delete(key)
		} else {
			c.v.index().Put(key, index.Location{Offset: e.offset, Size: uint32(e.size)})
		}
	}
	c.v.reindexed.Add(1)
	return nil
}

// findEntry finds the entry of the record at an offset, in units of needleAlignment, among the first bytes of an index
// file whose entries are in the order of the log. ErrUnfit: there is none.
func findEntry(f vfs.File, idxBytes int64, offset uint32) (number int64, e idxEntry, err error) {
	read := func(i int64) idxEntry {
		var b [idxEntrySize]byte
		if err == nil {
			err = readFull(f, b[:], i*idxEntrySize)
		}
		return parseIdxEntry(b[:])
	}
	n := idxBytes / idxEntrySize
	number = int64(sort.Search(int(n), func(i int) bool { return read(int64(i)).offset >= offset }))
	if err == nil && number < n {
		e = read(number)
	}
	if err == nil && (number == n || e.offset != offset) {
		err = ErrUnfit
	}
	return number, e, err
}

// ErrUnvouched: the index says of a record something else than both copies do, and it is not known what was written: the sum
// of its run of records is not, or not that of what is there.
var ErrUnvouched = errors.New("the index and the log differ, and nothing tells which one is right")

// vouched returns nil if the header of a record is what was written, as far as the sum of its run of records tells, though
// the index has learnt something else. Errors: ErrUnfit if the header is another one here, ErrUnvouched, or the disk's.
func (m *mending) vouched() error {
	var b [needleHeaderSize]byte
	if err := readFull(m.content.dat, b[:], m.offset); err != nil {
		return err
	}
	if parseHeader(b[:]) != m.header {
		return ErrUnfit
	}
	run, err := m.v.RestBlockOf(m.offset)
	if err == nil && (run.Sum == 0 || run.Sum != run.Here) {
		err = ErrUnvouched
	}
	return err
}

// RestBlockOf returns the run of records that has the one at an offset, as far as the index file knows it, with its sums.
func (v *Volume) RestBlockOf(offset int64) (b RestBlock, err error) {
	f, err := v.fs.OpenFile(v.base+".idx", os.O_RDONLY, 0)
	if err != nil {
		return b, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return b, err
	}
	entry, _, err := findEntry(f, size, uint32(offset/needleAlignment))
	if err != nil {
		return b, err
	}
	return v.restBlock(io.NewSectionReader(f, 0, size), int(entry/sumRecords))
}
