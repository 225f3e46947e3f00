package index

import "math/bits"

// field returns the width bits (0 to 64) that start at bit pos of words.
func field(words []uint64, pos, width uint) uint64 {
	if width == 0 {
		return 0
	}
	i, shift := pos>>6, pos&63
	v := words[i] >> shift
	if shift+width > 64 {
		v |= words[i+1] << (64 - shift)
	}
	return v & (1<<width - 1)
}

// fieldWords returns how many words a column of n fields of that width takes.
func fieldWords(n int, width uint) int { return (n*int(width) + 63) >> 6 }

// pack writes values, each below 2^width, as one column to the start of dst. Every word of the column
// is overwritten.
func pack(dst, values []uint64, width uint) {
	if width == 0 {
		return
	}
	var acc uint64
	var fill uint
	for _, v := range values {
		acc |= v << fill
		if fill += width; fill >= 64 {
			dst[0], dst = acc, dst[1:]
			fill -= 64
			acc = v >> (width - fill)
		}
	}
	if fill > 0 {
		dst[0] = acc
	}
}

// unpack reads len(values) fields of that width from the start of src.
func unpack(values, src []uint64, width uint) {
	if width == 0 {
		clear(values)
		return
	}
	mask := uint64(1)<<width - 1
	var pos uint
	for i := range values {
		w, shift := pos>>6, pos&63
		v := src[w] >> shift
		if shift+width > 64 {
			v |= src[w+1] << (64 - shift)
		}
		values[i] = v & mask
		pos += width
	}
}

// selectZero returns the position of the zero bit, in the 128 bits of low and high, that has k zero bits
// below it. There are more than k.
func selectZero(low, high uint64, k int) int {
	zeros, pos := ^low, 0
	if n := bits.OnesCount64(zeros); k >= n {
		zeros, pos, k = ^high, 64, k-n
	}
	for width := 32; width > 0; width >>= 1 {
		if n := bits.OnesCount64(zeros & (1<<width - 1)); k >= n {
			zeros, pos, k = zeros>>width, pos+width, k-n
		}
	}
	return pos
}

// floorIndex returns the highest i < n with words[i*stride] <= key. The words at the stride ascend, and
// the first one is at most key. It gallops from guess, so a good guess costs one or two cache lines and a
// bad one no more than twice a binary search.
func floorIndex(words []uint64, stride, n, guess int, key uint64) int {
	lo, hi, step := 0, n, 1
	guess = max(0, min(guess, n-1))
	if words[guess*stride] <= key {
		lo = guess
		for next := guess + 1; next < n; next += step {
			if words[next*stride] > key {
				hi = next
				break
			}
			lo = next
			step *= 2
		}
	} else {
		hi = guess
		for next := guess - 1; next > 0; next -= step {
			if words[next*stride] <= key {
				lo = next
				break
			}
			hi = next
			step *= 2
		}
	}
	for hi-lo > 1 {
		mid := int(uint(lo+hi) >> 1)
		if words[mid*stride] <= key {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
