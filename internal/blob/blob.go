// Package blob holds the vocabulary that every part of the store shares: volume ids, needle keys,
// cookies, file ids (fids), placement codes and TTLs, each with its text and byte forms.
//
// It refuses anything malformed with an error that names the offending text, and it never panics on
// input. It has no I/O, no clock and no state.
//
// A fid is written `volume,key cookie`: the decimal volume id, a comma, the key in hex without leading
// zero bytes (so an even number of digits), and the cookie as exactly eight hex digits:
//
//	3,01637037d6   ->  volume 3, key 0x01, cookie 0x637037d6
//
// In use:
//
//	p, err := blob.ParsePath("/3,01637037d6_1.jpg")
//	if err != nil {
//		return err // names the text; errors.Is(err, blob.ErrMalformed)
//	}
//	p.Volume, p.Key, p.Cookie // 3, 2, 0x637037d6
//	p.String()                // "3,02637037d6"
//	p.Ext                     // ".jpg"
package blob

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// VolumeID names a volume within a cluster. Zero is never a valid id.
type VolumeID uint32

// Key names a needle within a volume. Keys are handed out by the masters, never twice.
type Key uint64

// MaxKey is the last key above which masters raise their sequence. Keys above it, which another system's volumes may
// hold, are out of its reach.
const MaxKey Key = 1<<63 - 1<<40

// Cookie is the random part of a fid that keeps URLs from being guessed.
type Cookie uint32

// FileID is a parsed fid: where a blob lives and what proves that the caller may have it.
type FileID struct {
	Volume VolumeID
	Key    Key
	Cookie Cookie
}

// ErrMalformed is the kind of every parse error of this package.
var ErrMalformed = errors.New("malformed")

func malformed(what, text string) error {
	if len(text) > 64 {
		text = text[:64] + "…"
	}
	return fmt.Errorf("%w %s %q", ErrMalformed, what, text)
}

// String returns the decimal form of the id.
func (v VolumeID) String() string { return strconv.FormatUint(uint64(v), 10) }

// ParseVolumeID reads a decimal volume id between 1 and 2^32-1.
func ParseVolumeID(s string) (VolumeID, error) {
	v, ok := parseDecimal(s)
	if !ok || v == 0 || v > math.MaxUint32 {
		return 0, malformed("volume id", s)
	}
	return VolumeID(v), nil
}

// String returns the fid's canonical text.
func (f FileID) String() string { return string(f.AppendText(make([]byte, 0, 32))) }

// AppendText appends the fid's canonical text to dst.
func (f FileID) AppendText(dst []byte) []byte {
	dst = strconv.AppendUint(dst, uint64(f.Volume), 10)
	dst = append(dst, ',')
	return AppendKeyCookie(dst, f.Key, f.Cookie)
}

// AppendKeyCookie appends the part of a fid behind the comma.
func AppendKeyCookie(dst []byte, key Key, cookie Cookie) []byte {
	const digits = "0123456789abcdef"
	started := false
	for shift := 56; shift >= 0; shift -= 8 {
		b := byte(key >> shift)
		if b == 0 && !started && shift > 0 {
			continue
		}
		started = true
		dst = append(dst, digits[b>>4], digits[b&15])
	}
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[cookie>>shift&15])
	}
	return dst
}

// ParseKeyCookie reads 9 to 24 hex digits in either case, the last eight of them the cookie, and an
// optional `_N` with a decimal N that is added to the key (the N-th of several fids assigned at once). A
// sum that does not fit a key is malformed.
func ParseKeyCookie[T ~string | ~[]byte](s T) (Key, Cookie, error) {
	hexLen, delta := len(s), uint64(0)
	if i := index(s, '_'); i >= 0 {
		d, ok := parseDecimal(s[i+1:])
		if !ok {
			return 0, 0, malformed("fid", string(s))
		}
		hexLen, delta = i, d
	}
	if hexLen < 9 || hexLen > 24 {
		return 0, 0, malformed("fid", string(s))
	}
	var hi, lo uint64 // lo gathers the cookie's digits, hi the key's
	for i := range hexLen {
		d := hexDigit(s[i])
		if d > 15 {
			return 0, 0, malformed("fid", string(s))
		}
		if i < hexLen-8 {
			hi = hi<<4 | uint64(d)
		} else {
			lo = lo<<4 | uint64(d)
		}
	}
	if hi > math.MaxUint64-delta {
		return 0, 0, malformed("fid", string(s))
	}
	return Key(hi + delta), Cookie(lo), nil
}

// ParseFileID reads a fid in the forms `3,01637037d6`, `3/01637037d6`, each with an optional `_N`, an
// optional extension (`.jpg`) and, behind the slash form, an optional file name. It is ParsePath
// without the leading slash, for fids that stand alone.
func ParseFileID(s string) (FileID, error) {
	if len(s) > 0 && s[0] == '/' {
		return FileID{}, malformed("fid", s)
	}
	f, err := ParsePath(s)
	return f.FileID, err
}

// Path is a parsed URL path of a blob.
type Path struct {
	FileID
	// Name is the file name that the client put into the path, "" where there is none. It has no slash.
	Name string
	// Ext is what follows the last dot, with the dot (".jpg"), of Name or of the fid itself; "" where there
	// is no dot.
	Ext string
}

// ParsePath reads a URL path in one of the forms
//
//	/3,01637037d6   /3,01637037d6.jpg   /3/01637037d6   /3/01637037d6.jpg   /3/01637037d6/name.jpg
//
// with or without the leading slash. A `_N` stands right behind the hex digits, before an extension. The
// path is expected decoded. No allocation but for Name and Ext.
func ParsePath[T ~string | ~[]byte](path T) (Path, error) {
	s := path
	if len(s) > 0 && s[0] == '/' {
		s = s[1:]
	}
	comma, slash := index(s, ','), index(s, '/')
	sep := comma
	if comma < 0 || slash >= 0 && slash < comma {
		sep = slash
	}
	if sep < 0 {
		return Path{}, malformed("fid", string(path))
	}
	vid, ok := parseDecimal(s[:sep])
	if !ok || vid == 0 || vid > math.MaxUint32 {
		return Path{}, malformed("volume id", string(s[:sep]))
	}
	var p Path
	token := s[sep+1:]
	if i := index(token, '/'); i >= 0 {
		p.Name = string(token[i+1:])
		if sep == comma || index(p.Name, '/') >= 0 {
			return Path{}, malformed("fid", string(path))
		}
		token = token[:i]
	}
	if i := index(token, '.'); i >= 0 {
		p.Ext = extension(string(token[i:]))
		token = token[:i]
	}
	if p.Name != "" {
		p.Ext = extension(p.Name)
	}
	key, cookie, err := ParseKeyCookie(token)
	if err != nil {
		return Path{}, err
	}
	p.FileID = FileID{Volume: VolumeID(vid), Key: key, Cookie: cookie}
	return p, nil
}

func index[T ~string | ~[]byte](s T, c byte) int {
	for i := range len(s) {
		if s[i] == c {
			return i
		}
	}
	return -1
}

// extension returns the name from its last dot on, "" where it has none.
func extension(name string) string {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return ""
	}
	return name[i:]
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// parseDecimal reads 1 to 20 decimal digits that fit 64 bits; no sign, no space.
func parseDecimal[T ~string | ~[]byte](s T) (uint64, bool) {
	if len(s) == 0 || len(s) > 20 {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		d := uint64(s[i]) - '0'
		if d > 9 || v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}
