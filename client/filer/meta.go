package filer

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
)

// Rule says where files below a prefix go, as far as nothing else does.
type Rule struct {
	Prefix      string `json:"prefix"`
	Collection  string `json:"collection"`
	Replication string `json:"replication"`
	TTL         string `json:"ttl"`
}

// Rules are the defaults by path of one version.
type Rules struct {
	Version uint64 `json:"version"`
	Rules   []Rule `json:"rules"`
}

const (
	confPath    = "/.weed/conf"
	entriesPath = "/.weed/entries"
)

// Rules returns the filer's rules.
func (c *Client) Rules(ctx context.Context) (Rules, error) {
	var r Rules
	_, err := c.call(ctx, request{method: http.MethodGet, path: confPath}, &r)
	return r, err
}

// SetRules replaces the rules, if their version is still the one that r names, and returns what there is now. When
// somebody else was faster, the error is a *client.StatusError with 409.
func (c *Client) SetRules(ctx context.Context, r Rules) (Rules, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return Rules{}, err
	}
	var now Rules
	h := http.Header{"Content-Type": {"application/json"}}
	_, err = c.call(ctx, request{http.MethodPost, confPath, nil, h, bytes.NewReader(text), int64(len(text))}, &now)
	return now, err
}

// Entries opens the entries of all that is below a directory, or that of a file: one JSON object to a line, as Load
// takes them, each directory before what it holds. The caller closes it; an early end is io.ErrUnexpectedEOF.
func (c *Client) Entries(ctx context.Context, path string) (io.ReadCloser, error) {
	answer, err := c.send(ctx, request{method: http.MethodGet, path: entriesPath, query: url.Values{"path": {path}}})
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// Loaded is what became of a Load.
type Loaded struct {
	Files       int    `json:"files"`
	Directories int    `json:"directories"`
	Failed      int    `json:"failed"` // lines that were not taken
	FirstError  string `json:"firstError,omitempty"`
}

// Load makes or replaces entries with the chunks that they name, from lines as Entries yields them.
func (c *Client) Load(ctx context.Context, lines io.Reader) (Loaded, error) {
	var l Loaded
	h := http.Header{"Content-Type": {"application/x-ndjson"}}
	_, err := c.call(ctx, request{http.MethodPost, entriesPath, nil, h, lines, -1}, &l)
	return l, err
}
