package upload

import (
	"unicode"
	"unicode/utf8"
)

// maxField is what a needle's one-byte lengths allow for a name and for a type.
const maxField = 255

// baseName returns the last element of a file name as clients send it: behind the last / or \, without
// control characters, cut to 255 bytes at a rune boundary. A name that names a directory ("..", "/") is none.
// The result aliases name unless characters had to go. Bytes that are not UTF-8 stay as they are.
func baseName(name []byte) []byte {
	base, _ := nameOf(name)
	return base
}

// nameOf is baseName, and reports whether the name had to be cut.
func nameOf(name []byte) (base []byte, cut bool) {
	end := len(name)
	for end > 0 && isSeparator(name[end-1]) {
		end--
	}
	start := end
	for start > 0 && !isSeparator(name[start-1]) {
		start--
	}
	name = name[start:end]
	for _, c := range name {
		// 0xc2 begins the two-byte forms of the C1 controls, U+0080 to U+009F.
		if c < ' ' || c == 0x7f || c == 0xc2 {
			name = dropControls(name)
			break
		}
	}
	if len(name) > maxField {
		end := maxField
		for end > maxField-utf8.UTFMax && !utf8.RuneStart(name[end]) {
			end--
		}
		return name[:end], true
	}
	if len(name) == 0 || string(name) == "." || string(name) == ".." {
		return nil, false
	}
	return name, false
}

func isSeparator(c byte) bool { return c == '/' || c == '\\' }

func dropControls(name []byte) []byte {
	kept := make([]byte, 0, len(name))
	for len(name) > 0 {
		r, n := utf8.DecodeRune(name)
		if !unicode.IsControl(r) {
			kept = append(kept, name[:n]...)
		}
		name = name[n:]
	}
	return kept
}

// informativeType returns a Content-Type value as it stands, or nothing when it says nothing about the blob:
// the two defaults of clients that do not know, and values that could not be sent back in a header.
func informativeType(v []byte) []byte {
	v = trimBlanks(v)
	media := v
	slash := false
	for i, c := range v {
		slash = slash || c == '/'
		if c == ';' {
			media = trimBlanks(v[:i])
			break
		}
	}
	if !slash || len(v) > maxField || !isASCIIValue(v) ||
		equalFold(media, "application/octet-stream") || equalFold(media, "application/x-www-form-urlencoded") {
		return nil
	}
	return v
}

func isASCIIValue(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf || classes[c]&valueByte == 0 {
			return false
		}
	}
	return true
}

// equalFold compares ASCII text in any case. The usual spelling, given as text, is the fast one.
func equalFold(b []byte, text string) bool {
	return string(b) == text || len(b) == len(text) && equalFolded(b, text)
}

func equalFolded(b []byte, text string) bool {
	for i, c := range b {
		if lowerASCII(c) != lowerASCII(text[i]) {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// The classes of bytes in headers.
const (
	tokenByte = 1 << iota // allowed in a token by RFC 2045 and RFC 9110 alike
	valueByte             // allowed in a field value
)

var classes = func() (c [256]uint8) {
	const tokens = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for i := range len(tokens) {
		c[tokens[i]] |= tokenByte
	}
	for i := range c {
		if i >= ' ' && i != 0x7f || i == '\t' {
			c[i] |= valueByte
		}
	}
	return c
}()

// isToken reports whether b is a token, as field names and unquoted boundaries are.
func isToken(b []byte) bool {
	for _, c := range b {
		if classes[c]&tokenByte == 0 {
			return false
		}
	}
	return len(b) > 0
}

// isFieldValue reports whether all bytes may stand in a header value.
func isFieldValue(b []byte) bool {
	for _, c := range b {
		if classes[c]&valueByte == 0 {
			return false
		}
	}
	return true
}
