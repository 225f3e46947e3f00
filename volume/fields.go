package volume

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// appendETag appends a blob's entity tag: the checksum of the stored bytes as eight hex digits, quoted.
func appendETag(dst []byte, checksum uint32) []byte {
	dst = append(dst, '"')
	return append(appendHex32(dst, checksum), '"')
}

func appendHex32(dst []byte, v uint32) []byte {
	const digits = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}

// appendDisposition appends a Content-Disposition (RFC 6266). A name that is not plain ASCII is given twice:
// with the odd bytes replaced, for old clients, and in the extended notation of RFC 8187.
func appendDisposition(dst []byte, download bool, name []byte) []byte {
	if download {
		dst = append(dst, "attachment"...)
	} else {
		dst = append(dst, "inline"...)
	}
	if len(name) == 0 {
		return dst
	}
	dst = append(dst, `; filename="`...)
	plain := true
	for _, c := range name {
		switch {
		case isControl(c): // no name that is worth keeping has one
		case c >= utf8.RuneSelf:
			plain = false
			dst = append(dst, '_')
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		default:
			dst = append(dst, c)
		}
	}
	dst = append(dst, '"')
	if plain {
		return dst
	}
	dst = append(dst, `; filename*=UTF-8''`...)
	const digits = "0123456789ABCDEF"
	for _, c := range name {
		if isControl(c) {
			continue
		}
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// maxNameBytes is what a needle takes.
const maxNameBytes = 255

// cleanName makes a name that came in a path fit to be kept, as package upload does with the others: without
// control characters, cut at a character's end, and not that of a directory.
func cleanName(name string) []byte {
	if name == "" || name == "." || name == ".." {
		return nil
	}
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, name)
	if len(name) > maxNameBytes {
		cut := maxNameBytes
		for cut > maxNameBytes-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
			cut--
		}
		name = name[:cut]
	}
	return []byte(name)
}

// safeMime says whether a stored type may become a header: foreign volumes may hold anything.
func safeMime(mime []byte) bool {
	for _, c := range mime {
		if isControl(c) || c >= utf8.RuneSelf {
			return false
		}
	}
	return len(mime) > 0
}

// isTrue and isFalse read the value of a parameter as strconv.ParseBool does.
func isTrue(arg []byte) bool {
	switch string(arg) {
	case "1", "t", "T", "true", "True", "TRUE":
		return true
	}
	return false
}

func isFalse(arg []byte) bool {
	switch string(arg) {
	case "0", "f", "F", "false", "False", "FALSE":
		return true
	}
	return false
}

// acceptsGzip says whether an Accept-Encoding field takes gzip (RFC 9110 section 12.5.3): named, or covered
// by `*`, with a weight above zero. A coding that is named counts before `*`.
func acceptsGzip(field []byte) bool {
	star := false
	for len(field) > 0 {
		var element []byte
		element, field, _ = bytes.Cut(field, []byte{','})
		coding, weight, _ := bytes.Cut(element, []byte{';'})
		coding = bytes.TrimSpace(coding)
		taken := !isZeroWeight(weight)
		switch {
		case bytes.EqualFold(coding, []byte("gzip")), bytes.EqualFold(coding, []byte("x-gzip")):
			return taken
		case string(coding) == "*":
			star = taken
		}
	}
	return star
}

// isZeroWeight recognises `q=0`, `q=0.0` and so on.
func isZeroWeight(parameter []byte) bool {
	name, value, ok := bytes.Cut(bytes.TrimSpace(parameter), []byte{'='})
	if !ok || !bytes.EqualFold(bytes.TrimSpace(name), []byte("q")) {
		return false
	}
	value = bytes.TrimSpace(value)
	return len(value) > 0 && len(bytes.Trim(value, "0.")) == 0
}
