package volume

import (
	"bytes"

	"weed/internal/upload"
)

const (
	sniffBytes  = 512
	defaultMime = "application/octet-stream"
	textMime    = "text/plain; charset=utf-8"
)

// sniff guesses a type from the first bytes of a content, as upload.Sniff does, whose table of some fifty
// signatures is only gone through when the content could begin with one of them.
func sniff(data []byte) string {
	data = data[:min(len(data), sniffBytes)]
	if len(data) == 0 || mayBeSignature(data) {
		return upload.Sniff(data)
	}
	for _, c := range data {
		if binaryBytes[c] {
			return defaultMime
		}
	}
	return textMime
}

// mayBeSignature is false for content that no signature of the WHATWG's MIME sniffing standard fits. data is
// not empty.
func mayBeSignature(data []byte) bool {
	switch {
	case signatureStarts[data[0]]:
		return true
	case len(data) >= 36 && string(data[34:36]) == "LP": // Embedded OpenType
		return true
	default:
		return len(data) >= 8 && bytes.Equal(data[4:8], []byte("ftyp")) // MPEG-4
	}
}

// signatureStarts holds the first bytes of all other signatures, and the blanks that may stand before a tag.
var signatureStarts = byteSet("\t\n\f\r <%\xfe\xff\xef\x00BGR\x89FIOM\x1atw\x1fP.")

// binaryBytes do not occur in text, as the same standard has it.
var binaryBytes = byteSet("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17" +
	"\x18\x19\x1a\x1c\x1d\x1e\x1f")

func byteSet(members string) (set [256]bool) {
	for i := range len(members) {
		set[members[i]] = true
	}
	return set
}
