package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"

	"weed/internal/blob"
	"weed/internal/wire"
)

// Needle is a blob in a server's copy of a volume.
type Needle struct {
	FID      string
	Offset   int64 // of its record in the log, in bytes
	Size     int64 // of the content as stored
	Name     string
	Mime     string
	TTL      string
	Modified int64 // unix seconds, 0 for unknown
	Gzipped  bool
	Damage   string // why it can't be read, "" if it can

	Pair       string // value of ListOptions.Pair
	AppendedAt int64  // unix nanoseconds, by the server's clock; 0 if it is not known, and without ListOptions.Pair
}

// ListOptions say what a list of blobs tells besides.
type ListOptions struct {
	Pair string // name of a pair, spelled as it was uploaded
}

// needleList reads the live needles of one copy, a page ahead of who asks for them.
type needleList struct {
	pages  chan needlePage
	page   []wire.LiveNeedle
	volume uint32
	err    error
	ended  bool
}

type needlePage struct {
	needles []wire.LiveNeedle
	err     error
}

// listNeedles begins to list a copy, until its end, an error or the end of ctx. work counts the goroutine that does it.
func (c *Client) listNeedles(ctx context.Context, server string, volume uint32, verify bool, opts ListOptions, work *sync.WaitGroup) *needleList {
	l := &needleList{pages: make(chan needlePage), volume: volume}
	work.Go(func() {
		defer close(l.pages)
		path := fmt.Sprintf("%s?volumeId=%d&verify=%t", wire.PathVolumeNeedles, volume, verify)
		if opts.Pair != "" {
			path += "&pair=" + url.QueryEscape(opts.Pair)
		}
		for p, from := c.patience(), ""; ; {
			var page wire.NeedlePage
			err := c.GetJSON(ctx, server, path+from, &page)
			var refused *StatusError
			if errors.As(err, &refused) && refused.Status == http.StatusConflict {
				err = ErrCompacted
			} else if err != nil && p.wait(ctx, err) {
				continue
			}
			select {
			case l.pages <- needlePage{page.Needles, err}:
			case <-ctx.Done():
				return
			}
			if err != nil || page.Next == 0 {
				return
			}
			from = fmt.Sprintf("&offset=%d&generation=%s", page.Next, page.Generation)
		}
	})
	return l
}

// peek returns the next needle without going on, false at the end or after an error, which is in l.err.
func (l *needleList) peek() (*wire.LiveNeedle, bool) {
	for len(l.page) == 0 && !l.ended {
		page, ok := <-l.pages
		l.page = page.needles
		if !ok || page.err != nil {
			l.ended, l.err, l.page = true, page.err, nil
		}
	}
	if len(l.page) == 0 {
		return nil, false
	}
	return &l.page[0], true
}

func (l *needleList) next() { l.page = l.page[1:] }

// fid returns the fid of a needle.
func (l *needleList) fid(n *wire.LiveNeedle) string {
	return blob.FileID{Volume: blob.VolumeID(l.volume), Key: blob.Key(n.Key), Cookie: blob.Cookie(n.Cookie)}.String()
}

// ListNeedles hands the blobs of a server's copy of a volume to f, in the order of the log, until f fails. Blobs that are
// written or deleted meanwhile may be among them or not. Errors: that of f, ErrCompacted, ErrNotFound, ErrUnavailable.
func (c *Client) ListNeedles(ctx context.Context, server string, volume uint32, opts ListOptions, f func(*Needle) error) error {
	within, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	list := c.listNeedles(within, server, volume, false, opts, &work)
	for n, ok := list.peek(); ok; n, ok = list.peek() {
		needle := Needle{FID: list.fid(n), Offset: n.Offset, Size: n.Size, Name: string(n.Name), Mime: string(n.Mime), TTL: n.TTL,
			Modified: n.Modified, Gzipped: n.Gzipped, Damage: n.Damage,
			Pair: n.Pair, AppendedAt: n.AppendedAt}
		list.next()
		if err := f(&needle); err != nil {
			return err
		}
	}
	if list.err != nil {
		return fmt.Errorf("list volume %d on %s: %w", volume, server, list.err)
	}
	return ctx.Err()
}
