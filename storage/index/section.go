package index

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

const (
	blockLen   = 64 // entries of a block; as many as bits of a word, so columns of full blocks end on words
	dirWords   = 3  // words of a block in the directory
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
	keyWidth uint
	offWidth uint
	lenWidth uint
}

func (b block) locWidth() uint { return b.offWidth + b.lenWidth }

// bodyWords returns the length of the columns of a block of n entries.
func (b block) bodyWords(n int) int {
	return fieldWords(n, b.keyWidth) + fieldWords(n, b.locWidth())
}

func (b block) put(dir []uint64) {
	dir[0] = b.first
	dir[1] = b.bases
	dir[2] = uint64(b.body) | uint64(b.keyWidth)<<32 | uint64(b.offWidth)<<40 | uint64(b.lenWidth)<<48
}

func (s *section) block(i int) block {
	dir := s.words[i*dirWords : i*dirWords+dirWords]
	return block{
		first:    dir[0],
		bases:    dir[1],
		body:     int(uint32(dir[2])),
		keyWidth: uint(dir[2] >> 32 & 0xff),
		offWidth: uint(dir[2] >> 40 & 0xff),
		lenWidth: uint(dir[2] >> 48 & 0xff),
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
	rel := key - b.first
	// Keys ascend strictly, so the i-th one is at least i above the first: the answer is at or below rel.
	i := uint(min(rel, uint64(count-1)))
	if b.keyWidth == 0 {
		if rel != uint64(i) {
			return absent
		}
	} else {
		lo, hi := uint(0), i+1
		for hi-lo > 1 {
			mid := (lo + hi) >> 1
			if field(body, mid*b.keyWidth, b.keyWidth)+uint64(mid) <= rel {
				lo = mid
			} else {
				hi = mid
			}
		}
		if field(body, lo*b.keyWidth, b.keyWidth)+uint64(lo) != rel {
			return absent
		}
		i = lo
	}
	column := body[fieldWords(count, b.keyWidth):]
	return b.location(field(column, i*b.locWidth(), b.locWidth()))
}

// appendBlock appends the entries of block i to dst, in key order.
func (s *section) appendBlock(dst []entry, i int) []entry {
	b, count := s.block(i), s.count(i)
	body := s.body(b)
	var keys, locs [blockLen]uint64
	unpack(keys[:count], body, b.keyWidth)
	unpack(locs[:count], body[fieldWords(count, b.keyWidth):], b.locWidth())
	for j := range count {
		dst = append(dst, entry{key: b.first + keys[j] + uint64(j), word: b.location(locs[j])})
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
	first, last := entries[0].key, entries[len(entries)-1].key
	return block{
		first:    first,
		bases:    uint64(lowOff)<<32 | uint64(lowLen),
		keyWidth: uint(bits.Len64(last - first - uint64(len(entries)-1))),
		offWidth: uint(bits.Len32(highOff - lowOff)),
		lenWidth: uint(bits.Len32(highLen - lowLen)),
	}
}

// fill packs entries into body, the columns of block b.
func (b block) fill(body []uint64, entries []entry) {
	var keys, locs [blockLen]uint64
	for j, e := range entries {
		keys[j] = e.key - b.first - uint64(j)
		rel := e.word - b.bases // no borrow: both halves are at least their base
		locs[j] = rel>>32 | (rel&0xffffffff)<<b.offWidth
	}
	pack(body, keys[:len(entries)], b.keyWidth)
	pack(body[fieldWords(len(entries), b.keyWidth):], locs[:len(entries)], b.locWidth())
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
		s.last = lastKey(prefix, keep-1)
	}
	s.slope = float64(s.blocks()) / (float64(s.last-s.first) + 1)
	return s
}

// lastKey returns the highest key of the full block i.
func lastKey(s *section, i int) uint64 {
	b := s.block(i)
	return b.first + field(s.body(b), (blockLen-1)*b.keyWidth, b.keyWidth) + blockLen - 1
}
