package client

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
)

// Blob is what an upload sends. Either Data or Reader holds the bytes; they are sent as they are.
type Blob struct {
	Name string // file name, told again by Content-Disposition
	Mime string // "" lets the server find out from the name or the bytes
	Data []byte // not touched after the call has returned

	// Reader yields the bytes if it is not nil, Size tells how many: fewer are an error, and no more are
	// read. Only an io.Seeker can be sent again, so an upload from any other Reader is tried once.
	Reader io.Reader
	Size   int64

	Gzipped  bool              // the bytes are a gzip stream of the content
	Manifest bool              // the bytes are a chunk manifest (docs: HTTP API)
	ModTime  time.Time         // Last-Modified, the zero time means now
	TTL      string            // as AssignOptions.TTL; it must be the volume's
	Pairs    map[string]string // told again by Download.Header
	MD5      []byte            // 16 bytes that the server checks the upload against, nil for none
}

// UploadResult is what the server stored.
type UploadResult struct {
	Name string `json:"name"`
	Size int64  `json:"size"` // content bytes
	ETag string `json:"eTag"`
	Mime string `json:"mime"`
}

// UploadTo writes a blob under a fid to the volume server at host, usually Assignment.URL. Errors:
// ErrTooLarge, ErrForbidden (the key is taken by another cookie), ErrNotFound (the volume is not there),
// ErrNoSpace, ErrUnavailable (then the outcome is unknown), ErrInvalid.
func (c *Client) UploadTo(ctx context.Context, host, fid string, b *Blob) (UploadResult, error) {
	var res UploadResult
	o, err := uploadRequest(fid, b)
	if err == nil {
		o.host = host
		res, err = c.upload(ctx, o)
	}
	if err != nil {
		return UploadResult{}, fmt.Errorf("upload %s: %w", fid, err)
	}
	return res, nil
}

// Upload writes a blob under a fid that is there or was assigned, to whichever server takes it. Errors are
// those of UploadTo and Lookup.
func (c *Client) Upload(ctx context.Context, fid string, b *Blob) (UploadResult, error) {
	var res UploadResult
	o, err := uploadRequest(fid, b)
	if err == nil {
		err = c.onReplicas(ctx, fid, false, func(host string) (err error) {
			o.host = host
			if err = c.send(ctx, o, &res); err != nil && !o.stream.rewind() {
				err = spentError{err}
			}
			return err
		})
	}
	if err != nil {
		return UploadResult{}, fmt.Errorf("upload %s: %w", fid, err)
	}
	return res, nil
}

// upload sends a prepared request once, and again while the server asks to wait.
func (c *Client) upload(ctx context.Context, o *outgoing) (UploadResult, error) {
	var res UploadResult
	for p := c.patience(); ; {
		err := c.send(ctx, o, &res)
		if err == nil || !o.stream.rewind() || !p.wait(ctx, err) {
			return res, err
		}
	}
}

// send makes one upload.
func (c *Client) send(ctx context.Context, o *outgoing, res *UploadResult) error {
	body, err := c.callBody(ctx, o)
	if err != nil || len(body) == 0 {
		return err
	}
	return decodeUpload(body, res)
}

func uploadRequest(fid string, b *Blob) (*outgoing, error) {
	if _, err := blob.ParseFileID(fid); err != nil || strings.ContainsAny(fid, "?#% ") {
		return nil, invalid("fid %.100q", fid)
	}
	if hasPrefixFold(b.Mime, "multipart/form-data") {
		// The server would take it for the envelope of the blob.
		return nil, invalid("type %.100q of a blob", b.Mime)
	}
	o := &outgoing{method: fasthttp.MethodPut, path: "/" + fid + b.query(), mime: b.Mime, body: b.Data,
		idempotent: true}
	if b.Reader != nil {
		o.body, o.stream = nil, newSource(b.Reader, b.Size)
	}
	if b.Name != "" {
		v := mime.FormatMediaType("inline", map[string]string{"filename": b.Name})
		if v == "" {
			return nil, invalid("name %.100q of a blob", b.Name)
		}
		o.header = append(o.header, Field{fasthttp.HeaderContentDisposition, v})
	}
	if b.Gzipped {
		o.header = append(o.header, Field{fasthttp.HeaderContentEncoding, "gzip"})
	}
	if b.MD5 != nil {
		if len(b.MD5) != 16 {
			return nil, invalid("an MD5 has 16 bytes, not %d", len(b.MD5))
		}
		o.header = append(o.header, Field{"Content-MD5", base64.StdEncoding.EncodeToString(b.MD5)})
	}
	for _, k := range sortedKeys(b.Pairs) {
		o.header = append(o.header, Field{pairPrefix + k, b.Pairs[k]})
	}
	return o, nil
}

// pairPrefix marks the header fields that are stored with a blob.
const pairPrefix = "Seaweed-"

func sortedKeys(m map[string]string) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (b *Blob) query() string {
	if b.ModTime.IsZero() && b.TTL == "" && !b.Manifest {
		return ""
	}
	q := make([]string, 0, 3)
	if !b.ModTime.IsZero() {
		q = append(q, "ts="+strconv.FormatInt(b.ModTime.Unix(), 10))
	}
	if b.TTL != "" {
		q = append(q, "ttl="+url.QueryEscape(b.TTL))
	}
	if b.Manifest {
		q = append(q, "cm=true")
	}
	return "?" + strings.Join(q, "&")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// Submitted is a blob that Submit has stored.
type Submitted struct {
	Assignment
	UploadResult
}

// submitAttempts bounds the volumes that one Submit tries.
const submitAttempts = 4

// Submit asks for a fid and writes the blob to it. When the volume server fails it asks for another and, as
// far as the masters offer one, on another volume; a fid that was given up may still hold the blob if its
// server broke off without an answer. b.TTL is taken from opts. Errors are those of Assign and UploadTo.
func (c *Client) Submit(ctx context.Context, opts AssignOptions, b *Blob) (Submitted, error) {
	opts.Count = 0
	send := *b
	send.TTL = opts.TTL
	var src *source
	if b.Reader != nil {
		src, send.Reader = newSource(b.Reader, b.Size), nil
	}
	failed := make(map[blob.VolumeID]bool)
	var last error
	for range submitAttempts {
		a, err := c.assignAvoiding(ctx, opts, failed)
		if err != nil {
			if last != nil {
				err = fmt.Errorf("%w (after: %w)", err, last)
			}
			return Submitted{}, fmt.Errorf("submit: %w", err)
		}
		o, err := uploadRequest(a.FID, &send)
		if err != nil {
			return Submitted{}, fmt.Errorf("submit: %w", err)
		}
		o.host, o.stream = a.URL, src
		var res UploadResult
		err = c.send(ctx, o, &res)
		if err == nil {
			return Submitted{Assignment: a, UploadResult: res}, nil
		}
		last = fmt.Errorf("upload %s: %w", a.FID, err)
		// A volume that is not where the master thought is gone or just moving: another one will do.
		if ctx.Err() != nil || !tryElsewhere(err) && !isMissing(err) || !src.rewind() {
			break
		}
		if id, err := blob.ParseFileID(a.FID); err == nil {
			failed[id.Volume] = true
		}
	}
	return Submitted{}, fmt.Errorf("submit: %w", orContext(ctx, last))
}

// assignAvoiding assigns a fid, if possible on a volume that has not failed yet.
func (c *Client) assignAvoiding(ctx context.Context, opts AssignOptions, failed map[blob.VolumeID]bool) (Assignment, error) {
	var a Assignment
	for range 3 {
		var err error
		if a, err = c.Assign(ctx, opts); err != nil {
			return a, err
		}
		id, err := blob.ParseFileID(a.FID)
		if err != nil {
			return a, fmt.Errorf("assign: %w", err)
		}
		if !failed[id.Volume] {
			break
		}
	}
	return a, nil
}
