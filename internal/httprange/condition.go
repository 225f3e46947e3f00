package httprange

import (
	"bytes"
	"strings"
)

// Conditions are the values of a request's conditional fields and of Range, empty where absent.
type Conditions struct {
	IfMatch, IfNoneMatch, IfModifiedSince, IfUnmodifiedSince, IfRange, Range []byte
}

// Outcome is what the conditions of a request ask for.
type Outcome uint8

const (
	// Full: perform the request and answer with the whole content; a Range field does not count.
	Full Outcome = iota
	// Partial: perform the GET; the Range field counts, so hand it to Parse.
	Partial
	// NotModified: answer 304 with the ETag and without a body.
	NotModified
	// PreconditionFailed: answer 412 and change nothing.
	PreconditionFailed
)

// Evaluate applies the conditions in the order of RFC 9110 section 13.2.2.
//
// method is as sent, in upper case. etag is the current entity tag as in its field, with quotes and perhaps
// W/; "" means that there is no current content, so that `*` does not match. lastModified is in unix seconds,
// 0 if not known, which leaves the date conditions out. Dates that do not parse are ignored, as are the parts of
// an entity-tag list from the first malformed tag on. Only GET has ranges, by the RFC; HEAD has none.
//
// If-Range with a date asks for exactly lastModified. A content that may change twice within one second should
// be evaluated with lastModified 0, or offer an ETag, which clients prefer.
func Evaluate(method string, c Conditions, etag string, lastModified int64) Outcome {
	read := method == "GET" || method == "HEAD"
	if len(c.IfMatch) > 0 {
		if !matches(c.IfMatch, etag, strong) {
			return PreconditionFailed
		}
	} else if len(c.IfUnmodifiedSince) > 0 && lastModified != 0 {
		if date, ok := ParseDate(c.IfUnmodifiedSince); ok && lastModified > date {
			return PreconditionFailed
		}
	}
	if len(c.IfNoneMatch) > 0 {
		if matches(c.IfNoneMatch, etag, weak) {
			if read {
				return NotModified
			}
			return PreconditionFailed
		}
	} else if len(c.IfModifiedSince) > 0 && lastModified != 0 && read {
		if date, ok := ParseDate(c.IfModifiedSince); ok && lastModified <= date {
			return NotModified
		}
	}
	if len(c.Range) == 0 || method != "GET" || !rangeCounts(c.IfRange, etag, lastModified) {
		return Full
	}
	return Partial
}

// rangeCounts evaluates If-Range (RFC 9110 section 13.1.5), absent or not.
func rangeCounts(ifRange []byte, etag string, lastModified int64) bool {
	ifRange = trimBlanks(ifRange)
	if len(ifRange) == 0 {
		return true
	}
	if tag, rest, ok := nextTag(ifRange); ok {
		return len(rest) == 0 && tag.equals(etag, strong)
	}
	date, ok := ParseDate(ifRange)
	return ok && lastModified != 0 && date == lastModified
}

// comparison is strong or weak (RFC 9110 section 8.8.3.2).
type comparison bool

const (
	strong comparison = true
	weak   comparison = false
)

// entityTag is a tag in its parts.
type entityTag struct {
	weak   bool
	quoted []byte // the opaque part with its quotes
}

func (t entityTag) equals(current string, how comparison) bool {
	opaque, isWeak := strings.CutPrefix(current, "W/")
	if how == strong && (t.weak || isWeak) {
		return false
	}
	return string(t.quoted) == opaque
}

// nextTag reads the entity tag that b begins with: [ "W/" ] and visible or non-ASCII characters in quotes.
func nextTag(b []byte) (tag entityTag, rest []byte, ok bool) {
	b, tag.weak = bytes.CutPrefix(b, []byte("W/"))
	if len(b) == 0 || b[0] != '"' {
		return tag, b, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			tag.quoted = b[:i+1]
			return tag, b[i+1:], true
		case c <= ' ' || c == 0x7f:
			return tag, b, false
		}
	}
	return tag, b, false
}

// matches reports whether a list of If-Match or If-None-Match names the current content.
func matches(list []byte, etag string, how comparison) bool {
	if string(trimBlanks(list)) == "*" {
		return etag != ""
	}
	for {
		for len(list) > 0 && (isBlank(list[0]) || list[0] == ',') {
			list = list[1:] // RFC 9110 section 5.6.1.2: empty elements are allowed
		}
		tag, rest, ok := nextTag(list)
		list = trimBlanks(rest)
		if !ok || len(list) > 0 && list[0] != ',' {
			return false
		}
		if tag.equals(etag, how) {
			return true
		}
	}
}
