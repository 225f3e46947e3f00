// Package files moves files between directories and the store. It is what `weed upload`, `weed download` and
// `weed delete` do, for programs that want the same.
//
// It owns the choice of names, the cutting of big files into chunks with a manifest, and the safe landing of
// downloads: a file appears under its name when it is complete, and never outside the directory that was
// asked for, whatever name the store tells. It holds no file in memory.
//
//	c, err := client.New(client.Config{Masters: []string{"localhost:9333"}})
//	up, err := files.Upload(ctx, c, files.UploadConfig{Dir: "pictures", Include: "*.jpg", MaxMB: 64})
//	down, err := files.Download(ctx, c, files.DownloadConfig{Dir: "copies", FIDs: []string{up[0].FID}})
//	gone, err := files.Delete(ctx, c, []string{up[0].FID})
//	err = files.Print(os.Stdout, gone)
//
// Each function goes on when one file fails: the results, in the order of the request, tell what became of
// each, and the error is ErrFailed.
package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"weed/client"
)

// ErrFailed says that some of the files failed; the results tell which and why.
var ErrFailed = errors.New("failed")

// atOnce bounds the transfers under way in one call.
const atOnce = 4

// Deleted is what became of one fid, as the masters' /delete tells it.
type Deleted struct {
	FID    string `json:"fid"`
	Size   int64  `json:"size"`   // content bytes that the blob had
	Status int    `json:"status"` // HTTP status
	Error  string `json:"error,omitempty"`
}

// Delete deletes blobs. One that is not there has failed, with status 404.
func Delete(ctx context.Context, c *client.Client, fids []string) ([]Deleted, error) {
	results := make([]Deleted, len(fids))
	failed := 0
	for i, r := range c.DeleteMany(ctx, fids) {
		results[i] = Deleted{FID: r.FID, Size: r.Size, Status: http.StatusAccepted}
		if r.Err != nil {
			failed++
			results[i].Error, results[i].Status = r.Err.Error(), statusOf(r.Err)
		}
	}
	return results, outcome(ctx, failed, len(fids))
}

func statusOf(err error) int {
	var s *client.StatusError
	switch {
	case errors.As(err, &s):
		return s.Status
	case errors.Is(err, client.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, client.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, client.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Print writes the results of any function here as a JSON array in one line.
func Print[T any](out io.Writer, results []T) error {
	if results == nil {
		results = []T{}
	}
	return json.NewEncoder(out).Encode(results)
}

// outcome is the error of a call of which so many files have failed.
func outcome(ctx context.Context, failed, all int) error {
	switch {
	case failed == 0:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%d of %d files not done: %w", failed, all, ctx.Err())
	}
	return fmt.Errorf("%d of %d files %w", failed, all, ErrFailed)
}

// each calls do for 0 <= i < n, at most atOnce at a time, and waits.
func each(n int, do func(i int)) {
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	wg.Wait()
}
