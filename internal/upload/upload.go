// Package upload turns the body of an upload request into one blob: its bytes, its file name, its type, and
// decides whether and how the bytes are compressed.
//
// It owns the multipart/form-data and raw-body forms (RFC 7578, RFC 6266), the table of types by file
// extension, and gzip in both directions. It refuses a multipart body without its final boundary: a body cut
// short is never taken for a blob. It knows no transport: callers hand in header values and the whole body.
//
// Invariants:
//   - Parse never writes to its arguments. Part's fields alias them wherever no byte had to change, so they
//     live as long as the body does; a server that reuses buffers copies what it keeps.
//   - Name is a base name of at most 255 bytes without control characters, never "." or "..". Mime is at
//     most 255 bytes of printable ASCII with a slash. Both fit a needle and are safe in a response header.
//   - The own multipart parser accepts only what it reads exactly as mime/multipart does and leaves the rest
//     to it; a fuzz target holds the two against each other.
//   - Memory: the common forms allocate nothing; the fallback copies the blob once, so at most len(body)
//     more. Gzip runs on at most GOMAXPROCS encoders, Gunzip never exceeds its limit.
//
// Use:
//
//	part, err := upload.Parse(contentType, contentDisposition, body) // ErrMalformed, ErrTruncated, ErrNoPart: 400
//	mime := string(part.Mime)
//	if mime == "" {
//		mime = upload.TypeByName(part.Name)
//	}
//	data, gzipped := part.Data, part.Gzipped
//	if !gzipped && upload.Compressible(mime, upload.Ext(part.Name)) {
//		if z, ok := upload.Gzip(nil, data); ok {
//			data, gzipped = z, true
//		}
//	}
package upload

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
)

// The kinds of error of Parse. All of them are the client's fault (400).
var (
	// ErrMalformed: the body is not what its Content-Type says.
	ErrMalformed = errors.New("malformed multipart body: check the boundary and the part headers, or send the file as a raw body")
	// ErrTruncated: the body ends before the final boundary, so a part of the file may be missing.
	ErrTruncated = errors.New("the multipart body ends before its final boundary: send the whole body again")
	// ErrNoPart: the form is well-formed and empty.
	ErrNoPart = errors.New("the multipart body has no part: add one with a file name, as curl -F file=@name does")
)

// Part is the one blob of an upload request. All slices may alias the arguments of Parse.
type Part struct {
	Name    []byte // base name of the file, empty if none was given
	Mime    []byte // type as sent, empty if none or uninformative (application/octet-stream)
	Data    []byte // the blob, aliasing the body except after the mime/multipart fallback
	MD5     []byte // the part's own Content-MD5, base64 as sent; empty for a raw body
	Cut     bool   // Name was longer than 255 bytes as sent
	Gzipped bool   // the part itself says Content-Encoding: gzip; false for a raw body
}

// Parse finds the blob in a request body. With Content-Type multipart/form-data that is the first part with
// a file name, or else the first part; with every other type, application/x-www-form-urlencoded and the other
// multipart types included, it is the body as it stands, named by Content-Disposition.
//
// For a raw body the request's own Content-Encoding and Content-MD5 are the caller's to honour. Errors are of
// the kinds ErrMalformed, ErrTruncated, ErrNoPart, and occur with multipart/form-data only.
func Parse(contentType, contentDisposition, body []byte) (Part, error) {
	boundary, isForm, err := formBoundary(contentType)
	if err != nil {
		return Part{}, err
	}
	if !isForm {
		p := Part{Mime: informativeType(contentType), Data: body}
		if len(contentDisposition) > 0 {
			p.Name, p.Cut = nameOf(fileNameParam(contentDisposition))
		}
		return p, nil
	}
	if p, ok := parseCommon(boundary, body); ok {
		return p, nil
	}
	return parseAny(boundary, body)
}

const formType = "multipart/form-data"

// formBoundary reports whether the type is multipart/form-data, and its boundary parameter (RFC 2045 token
// or quoted string; RFC 2046 section 5.1.1).
func formBoundary(contentType []byte) (boundary []byte, isForm bool, err error) {
	media, params, _ := bytes.Cut(contentType, []byte{';'})
	if !equalFold(trimBlanks(media), formType) {
		return nil, false, nil
	}
	const attribute = "boundary="
	params = trimBlanks(params)
	if len(params) > len(attribute) && equalFold(params[:len(attribute)], attribute) {
		value := params[len(attribute):]
		if isToken(value) {
			return value, true, nil
		}
		if inner, ok := plainQuoted(value); ok {
			return inner, true, nil
		}
	}
	_, values, err := mime.ParseMediaType(string(contentType))
	// The encoded form boundary*= could smuggle line ends in, which no delimiter may hold.
	if err != nil || values["boundary"] == "" || !isFieldValue([]byte(values["boundary"])) {
		return nil, true, fmt.Errorf("%w: the Content-Type header carries no valid boundary parameter", ErrMalformed)
	}
	return []byte(values["boundary"]), true, nil
}

// plainQuoted returns the inside of a quoted string that fills v and needs no unescaping.
func plainQuoted(v []byte) (inner []byte, ok bool) {
	if len(v) < 3 || v[0] != '"' || v[len(v)-1] != '"' {
		return nil, false
	}
	inner = v[1 : len(v)-1]
	return inner, !bytes.ContainsAny(inner, "\"\\\r\n")
}
