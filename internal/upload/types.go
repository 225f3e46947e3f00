package upload

import (
	"net/http"
	"slices"
	"strings"
)

// Text is what names and types come as: Part holds bytes, callers may hold strings.
type Text interface{ ~string | ~[]byte }

// Ext returns a file name's extension with its dot, as sent; "" if there is none.
func Ext[T Text](name T) T {
	for i := len(name) - 1; i >= 0 && name[i] != '/'; i-- {
		if name[i] == '.' {
			return name[i:]
		}
	}
	return name[len(name):]
}

// TypeByName returns the media type for a file name's extension, in any case, "" if it is not known. Text
// types say charset=utf-8. The answer is the same on every host.
func TypeByName[T Text](name T) string { return typeByExt(Ext(name)) }

// typeByExt takes an extension with or without its dot.
func typeByExt[T Text](ext T) string {
	if len(ext) > 0 && ext[0] == '.' {
		ext = ext[1:]
	}
	var buf [maxExt]byte
	lower, ok := toLower(buf[:], ext)
	if !ok {
		return ""
	}
	low, high := 0, len(types)
	for low < high {
		middle := (low + high) / 2
		if types[middle].ext < string(lower) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(types) || types[low].ext != string(lower) {
		return ""
	}
	return types[low].mime
}

// toLower writes the ASCII lower case of s to buf; ok is false if it does not fit.
func toLower[T Text](buf []byte, s T) (lower []byte, ok bool) {
	if len(s) > len(buf) {
		return nil, false
	}
	for i := range len(s) {
		buf[i] = lowerASCII(s[i])
	}
	return buf[:len(s)], true
}

// Compressible reports whether a blob of this type is worth a try at Gzip: text and its structured relatives
// are, what is compressed already is not. A type that is given decides, except that an extension known as a
// compressed format always refuses; without a type ("" or application/octet-stream) the extension decides,
// and with neither the answer is no. ext comes with or without its dot.
func Compressible[M, E Text](mime M, ext E) bool {
	byExt := typeByExt(ext)
	if byExt != "" && !compressibleType(byExt) {
		return false
	}
	var buf [maxField]byte
	media, ok := toLower(buf[:], mime)
	if !ok {
		return false
	}
	for i, c := range media {
		if c == ';' {
			media = media[:i]
			break
		}
	}
	media = trimBlanks(media)
	if len(media) == 0 || string(media) == "application/octet-stream" {
		return byExt != ""
	}
	return compressibleType(string(media))
}

// compressibleType takes a media type in lower case; of parameters only the table's charset may follow.
func compressibleType(media string) bool {
	if strings.HasPrefix(media, "text/") {
		return true
	}
	for _, suffix := range [...]string{"json", "xml", "javascript", "ecmascript", "yaml", "csv"} {
		if strings.HasSuffix(media, suffix) {
			return true
		}
	}
	_, found := slices.BinarySearch(plainFormats, media)
	return found
}

// Sniff guesses a type from the first 512 bytes of the content (WHATWG MIME Sniffing), never "".
func Sniff(data []byte) string { return http.DetectContentType(data) }
