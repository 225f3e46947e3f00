package storage

import (
	"math"

	"weed/internal/vfs"
)

// maxStale is the number of blocks whose entries are good in spite of their sums after which the sums are taken for
// those of another index file.
const maxStale = 8

// sumCheck compares an index file that is being loaded with the sums of an earlier run, and makes those of this one.
type sumCheck struct {
	sums       *sums
	stored     []blockSum
	inFile     int // blocks, believed or not
	dat        vfs.File
	version    Version
	looseBytes int64 // as in idxCheck
	stale      int
	mended     []mendedEntries
}

// mendedEntries are entries that were not what had been written.
type mendedEntries struct {
	at      int64 // in the file
	entries []byte
}

// check looks at the entries of a block that begin at an offset of the index file, and mends them if they are not
// what was written. The log says what they were: its records, from an offset on, and the sum confirms it.
func (c *sumCheck) check(entries []byte, at int64, check *idxCheck, logEnd int64) {
	number := int(at / sumBlockBytes)
	if c == nil || number >= len(c.stored) || c.stored[number].entries == 0 {
		return
	}
	if known(Checksum(entries)) == c.stored[number].entries || c.stored[number].matches(entries) > 0 {
		return
	}
	if at >= check.looseBytes {
		if n, good := c.fromLog(c.stored[number], entries, check, logEnd); n > 0 {
			c.mended = append(c.mended, mendedEntries{at, good[:n]})
			copy(entries, good[:n])
			return
		}
	}
	c.stored[number] = blockSum{}
	if c.stale++; c.stale > maxStale {
		c.stored = nil
	}
}

// matches returns of how many of the entries it is the sum, at most, 0 for none.
func (b blockSum) matches(entries []byte) (n int) {
	sum := uint32(0)
	for i := 0; i+idxEntrySize <= len(entries); i += idxEntrySize {
		if sum = updateChecksum(sum, entries[i:i+idxEntrySize]); known(sum) == b.entries {
			n = i + idxEntrySize
		}
	}
	return n / idxEntrySize
}

// prefix returns of how many of the entries the sum of rests is known, and that.
func (b blockSum) prefix(entries []byte) (n int, rests uint32) {
	if n = b.matches(entries); n == 0 || b.rests == 0 {
		return 0, firstRest
	}
	return n, b.rests
}

// fromLog returns the entries of the records that begin at an offset of the log, and how many bytes of them are what
// the sum was made of.
func (c *sumCheck) fromLog(want blockSum, entries []byte, check *idxCheck, at int64) (n int, good []byte) {
	for range len(entries) / idxEntrySize {
		var b [needleHeaderSize]byte
		if err := readFull(c.dat, b[:], at); err != nil {
			break
		}
		h := parseHeader(b[:])
		length := recordLength(check.version, h.size)
		if h == (header{}) || h.size > math.MaxInt32 || length > check.datLength-at {
			break
		}
		good = entryOf(h, at).appendTo(good)
		at += length
	}
	return want.matches(good) * idxEntrySize, good
}

// loaded takes in entries that are believed, from an offset of the index file on: a whole block, or the last ones.
func (c *sumCheck) loaded(entries []byte, at int64) {
	if c == nil {
		return
	}
	var was blockSum
	if number := int(at / sumBlockBytes); number < len(c.stored) {
		was = c.stored[number]
	}
	if len(entries) == sumBlockBytes {
		now := blockSum{entries: known(Checksum(entries))}
		if now.entries == was.entries {
			now = was
		} else if n, sum := was.prefix(entries); n > 0 {
			rests := c.guess(entries, n, sum)
			now.rests, now.doubted = rests[sumRecords], true
		}
		if c.sums.written == len(c.sums.blocks) && now == was {
			c.sums.written++
		}
		c.sums.append(now)
		return
	}
	first := c.sums.last.n
	for i := 0; i+idxEntrySize <= len(entries); i += idxEntrySize {
		c.sums.add(parseIdxEntry(entries[i:]))
	}
	l := &c.sums.last
	if l.n > 0 && known(l.entries) == was.entries {
		l.rests[l.n], l.doubted, l.written = was.rests, was.doubted, l.n
	}
	if first > 0 || l.n == 0 || l.rests[l.n] != 0 || at < c.looseBytes {
		return
	}
	n, sum := was.prefix(entries)
	l.rests, l.doubted = c.guess(entries, n, sum), true
}

// guess returns the sums of rests of a run that was under way when the process was killed, from that of its first n
// records on, which was written before: of the others what is there now is better than nothing. What has flipped since
// in the first ones makes the sum another one than that of what is there.
func (c *sumCheck) guess(entries []byte, n int, sum uint32) (rests [sumRecords + 1]uint32) {
	rests[0], rests[n] = firstRest, sum
	for i := n; i < len(entries)/idxEntrySize; i++ {
		e := parseIdxEntry(entries[i*idxEntrySize:])
		rest, _, err := readRest(c.dat, c.version, int64(e.offset)*needleAlignment, nil)
		if err != nil {
			return rests
		}
		rests[i+1] = foldRest(rests[i], known(Checksum(rest)))
	}
	return rests
}
