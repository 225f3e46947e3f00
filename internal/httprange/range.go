// Package httprange answers the questions of RFC 9110 about partial and conditional requests: which bytes does
// a Range header ask for, how does a multipart/byteranges body look, and does a condition hold.
//
// It consists of pure functions over header values. It owns no connection, reads no clock and writes to no
// transport. What a client sends malformed is ignored, as the RFC wants it, and never an error or a panic.
//
// Invariants of the ranges returned by Parse for a content of size bytes: each lies within it and holds at
// least one byte, no two overlap or touch, so that together they never exceed size, and there are at most
// MaxRanges. A hostile header costs a bounded, small amount of work and cannot make an answer much larger
// than the content.
//
// Use, for GET:
//
//	switch httprange.Evaluate("GET", conditions, etag, modified) {
//	case httprange.NotModified: // 304 with ETag
//	case httprange.PreconditionFailed: // 412
//	case httprange.Full: // 200, whatever Range says
//	case httprange.Partial:
//		ranges, err := httprange.Parse(header, size)
//		// err: 416 with AppendUnsatisfied; none: 200; one: 206 with AppendContentRange;
//		// several: 206 with Multipart
//	}
package httprange

import (
	"errors"
	"math"
	"slices"
	"strconv"
)

// ErrUnsatisfiable: the header is valid and no range of it meets the content. Answer 416 with
// `Content-Range: bytes */size`.
var ErrUnsatisfiable = errors.New("the requested range lies outside the content")

// MaxRanges bounds the ranges, empty list elements included, that a header may hold; with more the whole
// content is sent (RFC 9110 section 17.15).
const MaxRanges = 64

// Range is a run of Length bytes beginning at Start.
type Range struct{ Start, Length int64 }

func (r Range) end() int64 { return r.Start + r.Length }

// Parse reads a Range header for a content of size bytes. No ranges and no error mean that the whole content
// is to be sent with 200: the header is absent, malformed, of an unknown unit or of more than MaxRanges
// ranges, or asks for the last bytes of an empty content. Ranges come in the order asked for; overlapping
// and adjacent ones are joined at the place of the first. The error is ErrUnsatisfiable.
func Parse(header []byte, size int64) ([]Range, error) {
	const unit = "bytes="
	if len(header) <= len(unit) || !equalFold(header[:len(unit)], unit) {
		return nil, nil
	}
	var ranges []Range
	seen, satisfiable := false, false
	list := header[len(unit):]
	for elements := 0; len(list) > 0; elements++ {
		if elements == MaxRanges {
			return nil, nil
		}
		var spec []byte
		if spec, list = nextElement(list); len(spec) == 0 {
			continue // RFC 9110 section 5.6.1.2
		}
		r, verdict := parseSpec(spec, size)
		if verdict == malformed {
			return nil, nil
		}
		seen = true
		satisfiable = satisfiable || verdict == inside
		if r.Length > 0 {
			ranges = join(ranges, r)
		}
	}
	if seen && !satisfiable {
		return nil, ErrUnsatisfiable
	}
	return ranges, nil
}

// verdict is what one element of a range set is.
type verdict int

const (
	malformed verdict = iota
	outside           // well-formed, but no byte of the content
	inside
)

// parseSpec reads `first-[last]` or `-suffix` (RFC 9110 section 14.1.2). A suffix of an empty content is
// inside it with no bytes: satisfiable by the RFC, though no Content-Range can express it.
func parseSpec(spec []byte, size int64) (Range, verdict) {
	first, rest := digits(spec)
	hasFirst := len(rest) < len(spec)
	if len(rest) == 0 || rest[0] != '-' {
		return Range{}, malformed
	}
	rest = rest[1:]
	last, tail := digits(rest)
	hasLast := len(rest) > 0
	switch {
	case len(tail) > 0, !hasFirst && !hasLast, hasFirst && hasLast && last < first:
		return Range{}, malformed
	case !hasFirst && last == 0:
		return Range{}, outside
	case !hasFirst:
		n := min(last, size)
		return Range{Start: size - n, Length: n}, inside
	case first >= size:
		return Range{}, outside
	case !hasLast:
		last = size - 1
	}
	return Range{Start: first, Length: min(last, size-1) - first + 1}, inside
}

// digits reads the decimal number that b begins with, 0 if there is none. Numbers beyond an int64 saturate:
// they are valid and lie behind every content.
func digits(b []byte) (n int64, rest []byte) {
	for len(b) > 0 && '0' <= b[0] && b[0] <= '9' {
		d := int64(b[0] - '0')
		if n > (math.MaxInt64-d)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + d
		}
		b = b[1:]
	}
	return n, b
}

// join adds r, united with every range that it overlaps or touches, at the place of the first of those.
// The ranges there neither overlap nor touch, so what a union touches, r alone touched already: one pass will do.
func join(ranges []Range, r Range) []Range {
	place := len(ranges)
	for i := 0; i < len(ranges); {
		have := ranges[i]
		if r.Start > have.end() || have.Start > r.end() {
			i++
			continue
		}
		start := min(r.Start, have.Start)
		r = Range{Start: start, Length: max(r.end(), have.end()) - start}
		place = min(place, i)
		ranges = slices.Delete(ranges, i, i+1)
	}
	return slices.Insert(ranges, min(place, len(ranges)), r)
}

// AppendContentRange appends the Content-Range of a 206 answer: `bytes 0-4/10`.
func AppendContentRange(dst []byte, r Range, size int64) []byte {
	dst = append(dst, "bytes "...)
	dst = strconv.AppendInt(dst, r.Start, 10)
	dst = append(dst, '-')
	dst = strconv.AppendInt(dst, r.end()-1, 10)
	dst = append(dst, '/')
	return strconv.AppendInt(dst, size, 10)
}

// AppendUnsatisfied appends the Content-Range of a 416 answer: `bytes */10`.
func AppendUnsatisfied(dst []byte, size int64) []byte {
	dst = append(dst, "bytes */"...)
	return strconv.AppendInt(dst, size, 10)
}
