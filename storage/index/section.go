package index

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

const (
	blockLen   = 64 // entries of a block; as many as bits of a word, so columns of full blocks end on words
	dirWords   = 3  // words of a block in the directory
	highBits   = 6  // bits of a key's distance from the block's first key that are kept in unary
	highWords  = 2  // words of those: a one for each of 64 entries, a zero for each of 64 values
	maxBlocks  = 64 // blocks of a section
	maxEntries = blockLen * maxBlocks
)

// entry is one needle, or its deletion, outside of a packed block.
type entry struct {
	key  uint64
	word uint64 // Location.word, or deleted
}

// section holds a range of keys: packed words that never change once the section is published, and a
// delta with what was written since. See the package comment for the layout.
type section struct {
	words       []uint64
	first, last uint64  // lowest and highest packed key
	slope       float64 // blocks per key between them, for the interpolation
	n           int     // packed entries
	delta       atomic.Pointer[delta]
}

const sectionBytes = 64 // of the struct; it fills one cache line

func (s *section) blocks() int { return (s.n + blockLen - 1) / blockLen }

// bytes is the memory that the section holds, without its delta.
func (s *section) bytes() int64 { return sectionBytes + 8*int64(cap(s.words)) }

// block is one decoded directory entry.
type block struct {
	first    uint64
	bases    uint64 // lowest offset and lowest size, as a Location.word
	body     int    // position of the columns in words, behind the directory
	dense    bool   // each key is one above the key before: there is no key column
	lowWidth uint   // bits of a key's distance from first that are kept as they are; the rest is below 64
	offWidth uint
	lenWidth uint
}

func (b block) locWidth() uint { return b.offWidth + b.lenWidth }

// keyWords returns the length of the key column of a block of n entries.
func (b block) keyWords(n int) int {
	if b.dense {
		return 0
	}
	return highWords + fieldWords(n, b.lowWidth)
}

// bodyWords returns the length of all columns of a block of n entries.
func (b block) bodyWords(n int) int { return b.keyWords(n) + fieldWords(n, b.locWidth()) }

func (b block) put(dir []uint64) {
	dir[0] = b.first
	dir[1] = b.bases
	dir[2] = uint64(b.body) | uint64(b.lowWidth)<<32 | uint64(b.offWidth)<<40 | uint64(b.lenWidth)<<48
	if b.dense {
		dir[2] |= 1 << 63
	}
}

func (s *section) block(i int) block {
	dir := s.words[i*dirWords : i*dirWords+dirWords]
	return block{
		first:    dir[0],
		bases:    dir[1],
		body:     int(uint32(dir[2])),
		dense:    dir[2]>>63 != 0,
		lowWidth: uint(dir[2] >> 32 & 0xff),
		offWidth: uint(dir[2] >> 40 & 0xff),
		lenWidth: uint(dir[2] >> 48 & 0x7f),
	}
}

// count returns the entries of block i: all blocks but the last one are full.
func (s *section) count(i int) int { return min(blockLen, s.n-i*blockLen) }

// body returns the columns of a block, up to the section's end.
func (s *section) body(b block) []uint64 { return s.words[s.blocks()*dirWords+b.body:] }

// location restores a Location.word from a field of the location column.
func (b block) location(field uint64) uint64 {
	off := field & (1<<b.offWidth - 1)
	size := field >> b.offWidth
	return b.bases + off<<32 + size
}

// floorBlock returns the block that would hold key, which is at least s.first.
func (s *section) floorBlock(key uint64) int {
	guess := int(float64(key-s.first) * s.slope)
	return floorIndex(s.words, dirWords, s.blocks(), guess, key)
}

// get returns the packed word of key, absent if there is none.
func (s *section) get(key uint64) uint64 {
	if s.n == 0 || key < s.first || key > s.last {
		return absent
	}
	at := s.floorBlock(key)
	b := s.block(at)
	count := s.count(at)
	body := s.body(b)
	i, ok := b.search(body, key-b.first, count)
	if !ok {
		return absent
	}
	column := body[b.keyWords(count):]
	return b.location(field(column, uint(i)*b.locWidth(), b.locWidth()))
}

// search returns which of count entries has its key at that distance from the first one.
func (b block) search(body []uint64, distance uint64, count int) (int, bool) {
	if b.dense {
		return int(distance), distance < uint64(count)
	}
	high := distance >> b.lowWidth
	if high >= blockLen {
		return 0, false
	}
	// The high parts are in unary: a one for each entry, and a zero behind those of each value.
	pos := 0
	if high > 0 {
		pos = selectZero(body[0], body[1], int(high)-1) + 1
	}
	low := distance & (1<<b.lowWidth - 1)
	lows := body[highWords:]
	for i := pos - int(high); body[pos>>6]>>(pos&63)&1 != 0; i, pos = i+1, pos+1 {
		if field(lows, uint(i)*b.lowWidth, b.lowWidth) == low {
			return i, true
		}
	}
	return 0, false
}

// appendBlock appends the entries of block i to dst, in key order.
func (s *section) appendBlock(dst []entry, i int) []entry {
	b, count := s.block(i), s.count(i)
	body := s.body(b)
	var lows, locs [blockLen]uint64
	unpack(locs[:count], body[b.keyWords(count):], b.locWidth())
	if b.dense {
		for j := range count {
			dst = append(dst, entry{b.first + uint64(j), b.location(locs[j])})
		}
		return dst
	}
	unpack(lows[:count], body[highWords:], b.lowWidth)
	ones, base := body[0], 0
	for j := range count {
		if ones == 0 {
			ones, base = body[1], 64
		}
		high := uint64(base + bits.TrailingZeros64(ones) - j)
		ones &= ones - 1
		dst = append(dst, entry{b.first + high<<b.lowWidth + lows[j], b.location(locs[j])})
	}
	return dst
}

// describe measures a block of entries. Its body position is left to the caller.
func describe(entries []entry) block {
	lowOff, highOff := uint32(entries[0].word>>32), uint32(entries[0].word>>32)
	lowLen, highLen := uint32(entries[0].word), uint32(entries[0].word)
	for _, e := range entries[1:] {
		off, size := uint32(e.word>>32), uint32(e.word)
		lowOff, highOff = min(lowOff, off), max(highOff, off)
		lowLen, highLen = min(lowLen, size), max(highLen, size)
	}
	first, span := entries[0].key, entries[len(entries)-1].key-entries[0].key
	return block{
		first:    first,
		bases:    uint64(lowOff)<<32 | uint64(lowLen),
		dense:    span == uint64(len(entries)-1),
		lowWidth: uint(max(0, bits.Len64(span)-highBits)),
		offWidth: uint(bits.Len32(highOff - lowOff)),
		lenWidth: uint(bits.Len32(highLen - lowLen)),
	}
}

// fill packs entries into body, the columns of block b.
func (b block) fill(body []uint64, entries []entry) {
	var lows, locs [blockLen]uint64
	var ones [highWords]uint64
	for j, e := range entries {
		distance := e.key - b.first
		lows[j] = distance & (1<<b.lowWidth - 1)
		if !b.dense {
			pos := distance>>b.lowWidth + uint64(j)
			ones[pos>>6] |= 1 << (pos & 63)
		}
		rel := e.word - b.bases // no borrow: both halves are at least their base
		locs[j] = rel>>32 | (rel&0xffffffff)<<b.offWidth
	}
	if !b.dense {
		copy(body, ones[:])
		pack(body[highWords:], lows[:len(entries)], b.lowWidth)
	}
	pack(body[b.keyWords(len(entries)):], locs[:len(entries)], b.locWidth())
}

// build returns a section of the first keep blocks of prefix, taken over as they are, followed by
// entries. Those ascend, lie above the kept blocks, and do not exceed maxEntries with them; the kept
// blocks are full.
func build(prefix *section, keep int, entries []entry) *section {
	s := &section{n: keep*blockLen + len(entries)}
	if s.n == 0 {
		return s
	}
	kept := 0 // words of the kept bodies
	if keep > 0 {
		last := prefix.block(keep - 1)
		kept = last.body + last.bodyWords(blockLen)
	}
	var dir [maxBlocks]block
	fresh := dir[:0]
	end := kept
	for chunk := range slices.Chunk(entries, blockLen) {
		b := describe(chunk)
		b.body = end
		end += b.bodyWords(len(chunk))
		fresh = append(fresh, b)
	}
	start := s.blocks() * dirWords
	s.words = slices.Grow([]uint64(nil), start+end)[:start+end] // Grow shows the allocator's rounding in cap
	if keep > 0 {
		copy(s.words, prefix.words[:keep*dirWords])
		copy(s.words[start:], prefix.words[prefix.blocks()*dirWords:][:kept])
	}
	for i, b := range fresh {
		b.put(s.words[(keep+i)*dirWords:])
		chunk := entries[i*blockLen : min((i+1)*blockLen, len(entries))]
		b.fill(s.words[start+b.body:], chunk)
	}
	s.first = s.words[0]
	if len(entries) > 0 {
		s.last = entries[len(entries)-1].key
	} else {
		block := prefix.appendBlock(make([]entry, 0, blockLen), keep-1)
		s.last = block[blockLen-1].key
	}
	s.slope = float64(s.blocks()) / (float64(s.last-s.first) + 1)
	return s
}
