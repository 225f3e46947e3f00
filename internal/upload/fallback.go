package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

// parseAny reads every form that mime/multipart reads, at the price of a copy of the chosen part.
func parseAny(boundary, body []byte) (Part, error) {
	// A body that ends inside a part's header looks to a caller of NextRawPart like the proper end (io.EOF).
	// Ending the stream with another error keeps the two apart.
	stream := io.MultiReader(bytes.NewReader(body), endOfBody{})
	forms := multipart.NewReader(stream, string(boundary))
	var chosen Part
	named := false
	space := make([]byte, 0, len(body)) // enough for all parts: decoding never makes data longer
	for parts := 0; ; parts++ {
		p, err := forms.NextRawPart()
		if err == io.EOF || err != nil && endsInFinalBoundary(err, boundary, body) {
			if parts == 0 {
				return Part{}, ErrNoPart
			}
			return chosen, nil
		}
		if err != nil {
			return Part{}, kindOf(err)
		}
		if parts == maxParts {
			return Part{}, fmt.Errorf("%w: more than %d parts", ErrMalformed, maxParts)
		}
		h := headerOf(p)
		if parts > 0 && (named || len(h.fileName) == 0) {
			// NextRawPart would skip it too, but hide that its end is missing.
			if _, err := io.Copy(io.Discard, p); err != nil {
				return Part{}, kindOf(err)
			}
			continue
		}
		data, err := readPart(space, decoded(p))
		if err != nil {
			return Part{}, kindOf(err)
		}
		space = data[len(data):]
		chosen, named = h.part(data), len(h.fileName) > 0
	}
}

func headerOf(p *multipart.Part) partHeader {
	get := func(name string) []byte { return []byte(strings.Trim(p.Header.Get(name), " \t")) }
	return partHeader{
		mime:     get("Content-Type"),
		encoding: get("Content-Encoding"),
		md5:      get("Content-MD5"),
		fileName: fileNameParam(get("Content-Disposition")),
	}
}

// decoded undoes the one transfer encoding that NextPart would undo.
func decoded(p *multipart.Part) io.Reader {
	if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		return quotedprintable.NewReader(p)
	}
	return p
}

// readPart reads a part into the spare capacity of space, which exceeds it: the body holds delimiters too.
func readPart(space []byte, p io.Reader) ([]byte, error) {
	for {
		n, err := p.Read(space[len(space):cap(space)])
		space = space[:len(space)+n]
		if err == io.EOF {
			return space, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// endOfBody reports the end of the body as an error that is not io.EOF.
type endOfBody struct{}

func (endOfBody) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// endsInFinalBoundary reports whether NextRawPart failed only because no line end follows the final boundary,
// which it forgives at io.EOF alone: `--boundary--` and blanks up to the end of the body.
// All parts must have been read to their ends.
func endsInFinalBoundary(err error, boundary, body []byte) bool {
	// It wraps the errors it meets on a delimiter line, and no others.
	if err == io.ErrUnexpectedEOF || !errors.Is(err, io.ErrUnexpectedEOF) {
		return false
	}
	line := body[bytes.LastIndexByte(body, '\n')+1:]
	line, ok := bytes.CutPrefix(line, []byte("--"))
	if !ok {
		return false
	}
	line, ok = bytes.CutPrefix(line, boundary)
	return ok && isDashes(line) && len(trimBlanks(line[2:])) == 0
}

func kindOf(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return ErrMalformed
}
