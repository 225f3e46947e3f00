package storage

import (
	"errors"
	"fmt"
	"io"
	"os"

	"weed/internal/vfs"
)

// MendIndexFile compares the index file with the sums of what was written to it, and mends it. What is in memory does
// not come from there, but the next run's will. It returns the number of blocks that were mended. Errors are ErrClosed
// or the disk's.
func (v *Volume) MendIndexFile() (mended int, err error) {
	s := v.sums.Load()
	if s == nil || v.foreign {
		return 0, nil
	}
	stored, written := s.known() // before the file is read, which may be cut and grow again meanwhile
	f, err := v.fs.OpenFile(v.base+".idx", os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	bad, err := v.compareIdx(f, stored, written, nil)
	if err = errors.Join(err, f.Close()); bad == 0 {
		return 0, err
	}
	result := make(chan error, 1)
	taken := v.committer.post(func() {
		var err error
		mended, err = v.committer.mendIdx()
		result <- err
	})
	if !taken {
		return 0, fmt.Errorf("volume %d: %w", v.id, ErrClosed)
	}
	return mended, <-result
}

// mendIdx flushes the index file and mends it, before it is read again.
func (c *committer) mendIdx() (mended int, err error) {
	w := c.idx
	if err := w.flush(); err != nil || w.sums == nil || w.off || c.v.foreign {
		return 0, err
	}
	stored, _ := w.sums.known()
	return c.v.compareIdx(w.f, stored, w.at, func(m mendedEntries) error {
		c.v.cfg.Logger.Warn("entries of the index file were damaged, and are mended", "volume", c.v.id, "offset", m.at)
		w.dirty = true
		_, err := w.f.WriteAt(m.entries, m.at)
		return err
	})
}

// known returns the sums of all entries, those of the last block too, and how many bytes of the file they are about.
func (s *sums) known() (stored []blockSum, idxBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored = append(stored, s.blocks...)
	if s.last.n > 0 {
		stored = append(stored, blockSum{entries: known(s.last.entries)})
	}
	return stored, int64(len(s.blocks))*sumBlockBytes + int64(s.last.n)*idxEntrySize
}

// compareIdx finds the blocks among the first bytes of an index file whose entries are not what was written, and that
// the log can tell. mend, which may be nil, gets each.
func (v *Volume) compareIdx(f vfs.File, stored []blockSum, idxBytes int64, mend func(mendedEntries) error) (bad int, err error) {
	c := &sumCheck{stored: stored, dat: v.dat()}
	check := idxCheck{version: v.superblock.Version, datLength: v.stats.length.Load()}
	logEnd := v.superblock.Length()
	buf := make([]byte, idxFlushBytes)
	for at := int64(0); at < idxBytes; {
		b := buf[:min(int64(len(buf)), idxBytes-at)]
		if size, err := f.Size(); err != nil || size < at+int64(len(b)) {
			return bad, err // the rest is in memory
		}
		if err := readFull(f, b, at); err != nil {
			return bad, err
		}
		for ; len(b) > 0; b = b[min(sumBlockBytes, len(b)):] {
			block := b[:min(sumBlockBytes, len(b))]
			c.check(block, at, &check, logEnd)
			for _, m := range c.mended {
				if bad++; mend == nil {
					continue
				}
				if err := mend(m); err != nil {
					return bad, err
				}
			}
			c.mended = nil
			last := parseIdxEntry(block[len(block)-idxEntrySize:])
			logEnd = int64(last.offset)*needleAlignment + recordLength(check.version, last.bodySize())
			at += int64(len(block))
		}
	}
	return bad, nil
}

// RestSums returns the sums of whole runs of records, from one on, at most n: 0 for one that is not known or doubted.
func (v *Volume) RestSums(from, n int) []uint32 {
	s := v.sums.Load()
	if s == nil || v.foreign {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from = min(from, len(s.blocks))
	known := make([]uint32, 0, min(n, len(s.blocks)-from))
	for _, b := range s.blocks[from:min(from+n, len(s.blocks))] {
		if b.doubted {
			b.rests = 0
		}
		known = append(known, b.rests)
	}
	return known
}

// RestBlockAt returns where a whole run of records is, as the index file says, with its sums.
func (v *Volume) RestBlockAt(number int) (b RestBlock, err error) {
	f, err := v.fs.OpenFile(v.base+".idx", os.O_RDONLY, 0)
	if err != nil {
		return b, err
	}
	defer f.Close()
	return v.restBlock(io.NewSectionReader(f, 0, int64(number+1)*sumBlockBytes), number)
}

// restBlock returns where a run of records is, as an index file says, which may end with it.
func (v *Volume) restBlock(idx *io.SectionReader, number int) (b RestBlock, err error) {
	at := int64(number) * sumBlockBytes
	entries := make([]byte, min(sumBlockBytes, idx.Size()-at))
	if _, err := io.ReadFull(io.NewSectionReader(idx, at, int64(len(entries))), entries); err != nil {
		return b, err
	}
	b = RestBlock{Number: number, Records: len(entries) / idxEntrySize}
	first, last := parseIdxEntry(entries), parseIdxEntry(entries[(b.Records-1)*idxEntrySize:])
	b.Offset = int64(first.offset) * needleAlignment
	b.Length = int64(last.offset)*needleAlignment + recordLength(v.superblock.Version, last.bodySize()) - b.Offset
	if b.Length <= 0 || b.Offset+b.Length > v.stats.length.Load() {
		return b, &CorruptError{v.base + ".idx", at, "these entries are not of records that follow each other"}
	}
	return b, v.RestSum(&b)
}
