package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"

	"weed/internal/vfs"
)

const (
	// sumRecords is the number of records that share their sums, from the beginning of the log on.
	sumRecords    = 64
	sumBlockBytes = sumRecords * idxEntrySize // of entries
	sumSize       = 8                         // of a blockSum in the file
	sumHead       = "weedsum\x01"
)

// blockSum is what is known of sumRecords records that follow each other in the log. 0 is not known.
type blockSum struct {
	entries uint32 // CRC-32C of their entries in `.idx`
	rests   uint32 // of the checksums of what is no data in them, see restSum
	// doubted says that rests was made of what was found: after a crash, by a compaction that no other copy vouches for, or
	// on the disk of another copy.
	doubted bool
}

// sums are checksums of what no other checksum tells about: the entries of `.idx`, and headers, attributes, times and
// padding of records. The file `.sum` has them for the next run. It is derived, is never synced, and no operation
// fails for its sake: a sum that is not known is made by the next scrub.
//
// A sum of rests is of use only with the entries that it was made for: it says nothing where theirs differs.
type sums struct {
	fs   vfs.FS
	name string // "": there is no file yet

	mu      sync.Mutex // guards what follows
	blocks  []blockSum
	last    openBlock
	entry   [idxEntrySize]byte // scratch
	written int                // blocks that the file has
	off     bool               // the file can't be written
}

// openBlock is the last block, while it has fewer than sumRecords records.
type openBlock struct {
	n       int
	entries uint32
	rests   [sumRecords + 1]uint32 // after so many records
	doubted bool
	written int // records that the file knows of
}

// firstRest is the sum of no rests.
const firstRest = 1

func newSums(fsys vfs.FS, name string) *sums {
	s := &sums{fs: fsys, name: name}
	s.last.rests[0] = firstRest
	return s
}

// doubtBit says in the file that a sum of rests is doubted.
const doubtBit = 1 << 31

// known is a checksum that is never 0, without the bit that is kept for doubts.
func known(sum uint32) uint32 { return max(sum&^doubtBit, 1) }

// foldRest goes on with a sum of rests by one more.
func foldRest(sum, rest uint32) uint32 {
	if sum == 0 || rest == 0 {
		return 0
	}
	sum = ^sum // by hand, since four bytes are not worth a slice on the heap
	for shift := 24; shift >= 0; shift -= 8 {
		sum = castagnoli[byte(sum)^byte(rest>>shift)] ^ sum>>8
	}
	return known(^sum)
}

// add takes in what is appended to `.idx`.
func (s *sums) add(e idxEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.last
	l.entries = updateChecksum(l.entries, e.appendTo(s.entry[:0]))
	l.rests[l.n+1] = foldRest(l.rests[l.n], e.rest)
	l.doubted = l.doubted || e.doubt
	if l.n++; l.n == sumRecords {
		s.append(blockSum{known(l.entries), l.rests[sumRecords], l.doubted})
	}
}

// append ends the last block. s.mu is held, or nobody else knows s.
func (s *sums) append(b blockSum) {
	s.blocks = append(s.blocks, b)
	s.last = openBlock{}
	s.last.rests[0] = firstRest
}

// doubt says that the records that follow in the last block, or are in it, are what was found: see blockSum.doubted.
func (s *sums) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.doubted = true
}

// rests returns the sum of the rests of the first n records of a block, 0 if it is not known.
func (s *sums) rests(block, n int) (sum uint32, doubted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case block < len(s.blocks) && n == sumRecords:
		return s.blocks[block].rests, s.blocks[block].doubted
	case block == len(s.blocks) && n <= s.last.n:
		return s.last.rests[n], s.last.doubted
	}
	return 0, false
}

// records returns of how many records there are sums.
func (s *sums) records() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks)*sumRecords + s.last.n
}

// forget makes that the sums of rests are not known of any block with a record from one on.
func (s *sums) forget(from int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := from / sumRecords; i < len(s.blocks); i++ {
		s.blocks[i].rests = 0
	}
	clear(s.last.rests[max(from-len(s.blocks)*sumRecords, 0)+1:])
	s.written = min(s.written, from/sumRecords)
	s.last.written = 0
}

// doubtedAt reports whether the sum of the rests of a block is not known or doubted, of one that is under way so far.
func (s *sums) doubtedAt(block int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if block < len(s.blocks) {
		return s.blocks[block].doubted || s.blocks[block].rests == 0
	}
	return s.last.doubted || s.last.rests[s.last.n] == 0
}

// learn takes down the sum of the rests of the first n records of a block.
func (s *sums) learn(block, n int, rests uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case block < len(s.blocks) && n == sumRecords:
		s.blocks[block].rests, s.blocks[block].doubted = rests, false
		s.written = min(s.written, block)
	case block == len(s.blocks) && n == s.last.n:
		s.last.rests[n], s.last.doubted = rests, false
		s.last.written = 0
	}
}

// replaced takes in that the entries of a block, all that there are, are others than those that it has the sum of.
func (s *sums) replaced(block int, entries []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if block < len(s.blocks) {
		s.blocks[block].entries = known(Checksum(entries))
		s.written = min(s.written, block)
	} else {
		s.last.entries = Checksum(entries)
		s.last.written = 0
	}
}

// cut forgets what lies behind the first so many records. entries are the entries of those that are left in the last
// block.
func (s *sums) cut(records int64, entries []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full, n := int(records/sumRecords), int(records%sumRecords)
	rests, doubted := s.last.rests, s.last.doubted
	if full < len(s.blocks) {
		clear(rests[1:])
	}
	s.blocks = s.blocks[:min(full, len(s.blocks))]
	s.last = openBlock{n: n, entries: Checksum(entries), doubted: doubted}
	copy(s.last.rests[:n+1], rests[:])
	s.last.rests[0] = firstRest
	s.written = min(s.written, full)
	s.write(func(f vfs.File) error { return f.Truncate(int64(len(sumHead) + s.written*sumSize)) })
}

// flush writes the blocks that the file lacks, and if part is true the last one as far as it is.
func (s *sums) flush(part bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	part = part && s.last.n > 0 && s.last.written != s.last.n
	if !part && s.written == len(s.blocks) {
		return
	}
	b := make([]byte, 0, (len(s.blocks)-s.written+1)*sumSize)
	for _, one := range s.blocks[s.written:] {
		b = one.appendTo(b)
	}
	if part {
		b = blockSum{known(s.last.entries), s.last.rests[s.last.n], s.last.doubted}.appendTo(b)
	}
	at := int64(len(sumHead) + s.written*sumSize)
	if s.written == 0 {
		b, at = append([]byte(sumHead), b...), 0
	}
	written := s.write(func(f vfs.File) error {
		_, err := f.WriteAt(b, at)
		return err
	})
	if !written {
		return
	}
	s.written = len(s.blocks)
	if part {
		s.last.written = s.last.n
	}
}

// write changes the file, and reports whether that is done. Unless the disk was full it is left alone once that has
// failed: what it says is compared with the entries.
func (s *sums) write(change func(vfs.File) error) bool {
	if s.off || s.name == "" {
		return false
	}
	f, err := s.fs.OpenFile(s.name, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		err = errors.Join(change(f), f.Close())
	}
	s.off = err != nil && !errors.Is(diskError(err), ErrNoSpace)
	return err == nil
}

// keepAs gives the sums of a new index file their own, in place of one that is another's.
func (s *sums) keepAs(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.written, s.last.written = name, 0, 0
	s.write(func(f vfs.File) error { return f.Truncate(0) })
}

// dropStale takes out of the file what is not believed of it, of which there are so many blocks: the next records might
// have the entries that it was made for.
func (s *sums) dropStale(blocks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	believed := s.written
	switch {
	case s.written < len(s.blocks):
		s.last.written = 0 // it comes behind them
	case s.last.written > 0:
		believed++
	}
	if blocks > believed {
		s.write(func(f vfs.File) error { return f.Truncate(int64(len(sumHead) + believed*sumSize)) })
	}
}

func (b blockSum) appendTo(dst []byte) []byte {
	if b.doubted && b.rests != 0 {
		b.rests |= doubtBit
	}
	dst = binary.BigEndian.AppendUint32(dst, b.entries)
	return binary.BigEndian.AppendUint32(dst, b.rests)
}

// readSums reads what an earlier run has written, which may be of fewer than sumRecords records in the last block that
// it knew. What can't be read is not known.
func readSums(fsys vfs.FS, name string) []blockSum {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil || !bytes.HasPrefix(b, []byte(sumHead)) {
		return nil
	}
	b = b[len(sumHead):]
	stored := make([]blockSum, 0, len(b)/sumSize)
	for ; len(b) >= sumSize; b = b[sumSize:] {
		rests := binary.BigEndian.Uint32(b[4:])
		stored = append(stored, blockSum{binary.BigEndian.Uint32(b), rests &^ doubtBit, rests&doubtBit != 0})
	}
	return stored
}
