package upload

import (
	"bytes"
	"mime"
)

const (
	maxBoundary = 70       // RFC 2046 section 5.1.1; longer ones go to the fallback
	maxParts    = 1000     // a form of more parts is refused: each part costs a map in the fallback
	maxHeader   = 16 << 10 // a part header beyond it goes to the fallback, which has limits of its own
)

// partHeader is what the store wants to know from one part's header. The slices alias the body.
type partHeader struct {
	disposition []byte // Content-Disposition
	mime        []byte // Content-Type
	encoding    []byte // Content-Encoding
	md5         []byte // Content-MD5
	fileName    []byte // the file name parameter as sent, empty if none
}

func (h *partHeader) part(data []byte) Part {
	name, cut := nameOf(h.fileName)
	return Part{
		Name:    name,
		Cut:     cut,
		Mime:    informativeType(h.mime),
		Data:    data,
		MD5:     h.md5,
		Gzipped: equalFold(h.encoding, "gzip"),
	}
}

// parseCommon reads the forms that clients send in practice, in one pass and without copying:
//
//	--boundary CRLF
//	Content-Disposition: form-data; name="file"; filename="hello.txt" CRLF
//	Content-Type: text/plain CRLF
//	CRLF
//	data CRLF
//	--boundary-- [CRLF anything]
//
// with any number of such parts. ok is false for everything else (preamble, bare LF, folded headers, blanks
// behind a boundary, quoted-printable, damage of any kind), on which mime/multipart then decides. What it
// does accept it reads exactly as mime/multipart does.
func parseCommon(boundary, body []byte) (p Part, ok bool) {
	if len(boundary) == 0 || len(boundary) > maxBoundary {
		return Part{}, false
	}
	var buf [4 + maxBoundary]byte
	n := copy(buf[:], "\r\n--")
	n += copy(buf[n:], boundary)
	delimiter := buf[:n] // CRLF belongs to the delimiter, not to the data before it
	first := delimiter[2:]
	if !bytes.HasPrefix(body, first) {
		return Part{}, false
	}

	var chosen partHeader
	var chosenData []byte
	rest := body[len(first):]
	for parts := 0; parts < maxParts; parts++ {
		// rest begins right behind a delimiter.
		if !hasCRLF(rest) {
			return Part{}, false
		}
		header, data, ok := readHeader(rest[2:])
		// A boundary right behind the header ends an empty part without its CRLF: rare, so not here.
		if !ok || bytes.HasPrefix(data, first) {
			return Part{}, false
		}
		end := partEnd(data, delimiter)
		if end < 0 {
			return Part{}, false
		}
		if parts == 0 || len(chosen.fileName) == 0 && len(header.fileName) > 0 {
			chosen, chosenData = header, data[:end]
		}
		rest = data[end+len(delimiter):]
		if isDashes(rest) {
			rest = rest[2:]
			return chosen.part(chosenData), len(rest) == 0 || hasCRLF(rest)
		}
	}
	return Part{}, false
}

func hasCRLF(b []byte) bool  { return len(b) >= 2 && b[0] == '\r' && b[1] == '\n' }
func isDashes(b []byte) bool { return len(b) >= 2 && b[0] == '-' && b[1] == '-' }

// partEnd returns the offset of the delimiter that ends a part's data, -1 if there is none or a doubtful one.
func partEnd(data, delimiter []byte) int {
	at := 0
	for {
		i := bytes.Index(data[at:], delimiter)
		if i < 0 {
			return -1
		}
		at += i
		after := data[at+len(delimiter):]
		if isDashes(after) || hasCRLF(after) {
			return at
		}
		if len(after) < 2 || after[0] <= ' ' {
			return -1
		}
		// The data holds a line that merely begins like the delimiter. No delimiter can start inside it.
		at += len(delimiter)
	}
}

// readHeader reads the header block of a part up to the blank line; data is what follows. Of a repeated
// field the first counts, as with textproto.MIMEHeader.Get.
func readHeader(b []byte) (h partHeader, data []byte, ok bool) {
	for used := 0; used <= maxHeader; {
		i := bytes.IndexByte(b, '\n')
		if i < 1 || b[i-1] != '\r' {
			return h, nil, false
		}
		line := b[:i-1]
		b = b[i+1:]
		used += i
		if len(line) == 0 {
			h.fileName = h.fileNameParam()
			return h, b, true
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return h, nil, false
		}
		name, value := line[:colon], trimBlanks(line[colon+1:])
		if !isFieldValue(value) || !h.set(name, value) {
			return h, nil, false
		}
	}
	return h, nil, false
}

// set stores a field. It is false for a malformed name, and for the field that changes how the data reads.
func (h *partHeader) set(name, value []byte) bool {
	var field *[]byte
	switch {
	case equalFold(name, "Content-Disposition"):
		field = &h.disposition
	case equalFold(name, "Content-Type"):
		field = &h.mime
	case equalFold(name, "Content-Encoding"):
		field = &h.encoding
	case equalFold(name, "Content-MD5"):
		field = &h.md5
	case equalFold(name, "Content-Transfer-Encoding"):
		return !equalFold(value, "quoted-printable")
	default:
		return isToken(name)
	}
	if *field == nil {
		*field = value
	}
	return true
}

func (h *partHeader) fileNameParam() []byte {
	if name, ok := plainFileName(h.disposition); ok {
		return name
	}
	return fileNameParam(h.disposition)
}

// plainFileName reads `form-data; name="…"; filename="…"` with values that need no unescaping.
func plainFileName(v []byte) (fileName []byte, ok bool) {
	const disposition = "form-data"
	if !bytes.HasPrefix(v, []byte(disposition)) {
		return nil, false
	}
	v = v[len(disposition):]
	haveName, haveFile := false, false
	for len(v) > 0 {
		seen := &haveName
		switch {
		case bytes.HasPrefix(v, []byte(`; name="`)):
			v = v[len(`; name="`):]
		case bytes.HasPrefix(v, []byte(`; filename="`)):
			v = v[len(`; filename="`):]
			seen = &haveFile
		default:
			return nil, false
		}
		end := bytes.IndexByte(v, '"')
		if end < 0 || *seen || bytes.IndexByte(v[:end], '\\') >= 0 {
			return nil, false
		}
		*seen = true
		if seen == &haveFile {
			fileName = v[:end]
		}
		v = v[end+1:]
	}
	return fileName, true
}

// fileNameParam returns the file name of a Content-Disposition value, RFC 6266: filename* before filename.
// A value that does not parse names nothing.
func fileNameParam(disposition []byte) []byte {
	_, params, err := mime.ParseMediaType(string(disposition))
	if err != nil || params["filename"] == "" {
		return nil
	}
	return []byte(params["filename"])
}
