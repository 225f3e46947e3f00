package httprange

import (
	"math/rand/v2"
	"strconv"
)

// Multipart lays out a multipart/byteranges body (RFC 9110 section 14.6), so that its length is known before
// and the content can be streamed between the pieces:
//
//	header.Set("Content-Type", string(m.AppendContentType(nil)))
//	header.Set("Content-Length", m.Length())
//	for i, r := range m.Ranges {
//		write(m.AppendPartHeader(buf[:0], i))
//		copy the r.Length bytes at r.Start
//	}
//	write(m.AppendEnd(buf[:0]))
type Multipart struct {
	Boundary    string  // 1 to 70 token characters that do not occur in the content: NewBoundary
	ContentType string  // of the content; "" leaves the field out
	Size        int64   // of the whole content in bytes
	Ranges      []Range // as returned by Parse, two or more
}

// NewBoundary returns a boundary of 32 random hex digits.
func NewBoundary() string {
	buf := make([]byte, 0, 32)
	for range 2 {
		// A leading one keeps all digits; 63 random bits remain of each half.
		buf = strconv.AppendUint(buf, rand.Uint64()|1<<63, 16)
	}
	return string(buf)
}

// AppendContentType appends the type of the answer.
func (m *Multipart) AppendContentType(dst []byte) []byte {
	dst = append(dst, "multipart/byteranges; boundary="...)
	return append(dst, m.Boundary...)
}

// Length returns the exact length of the body in bytes.
func (m *Multipart) Length() int64 {
	fixed := len("\r\n--\r\nContent-Range: \r\n\r\n") + len(m.Boundary)
	if m.ContentType != "" {
		fixed += len("Content-Type: \r\n") + len(m.ContentType)
	}
	var buf [len("bytes 9223372036854775807-9223372036854775807/9223372036854775807")]byte
	total := int64(len("\r\n----\r\n")+len(m.Boundary)) + int64(len(m.Ranges))*int64(fixed)
	for _, r := range m.Ranges {
		total += r.Length + int64(len(AppendContentRange(buf[:0], r, m.Size)))
	}
	if len(m.Ranges) > 0 {
		total -= int64(len("\r\n")) // the first part has none before its delimiter
	}
	return total
}

// AppendPartHeader appends what stands before the bytes of the i-th range.
func (m *Multipart) AppendPartHeader(dst []byte, i int) []byte {
	if i > 0 {
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "--"...)
	dst = append(dst, m.Boundary...)
	if m.ContentType != "" {
		dst = append(dst, "\r\nContent-Type: "...)
		dst = append(dst, m.ContentType...)
	}
	dst = append(dst, "\r\nContent-Range: "...)
	dst = AppendContentRange(dst, m.Ranges[i], m.Size)
	return append(dst, "\r\n\r\n"...)
}

// AppendEnd appends what stands behind the bytes of the last range.
func (m *Multipart) AppendEnd(dst []byte) []byte {
	dst = append(dst, "\r\n--"...)
	dst = append(dst, m.Boundary...)
	return append(dst, "--\r\n"...)
}
