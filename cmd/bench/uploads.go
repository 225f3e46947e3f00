package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// uploader puts blobs with the standard library's client.
func uploader(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}
}

// put uploads size bytes as a form to one fid.
func put(c *http.Client, url string, body []byte) error {
	resp, err := c.Post(url, "multipart/form-data; boundary=bb", bytes.NewReader(body)) //nolint:noctx // ends with the run
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("put %s: %s: %s", url, resp.Status, text)
	}
	return err
}

func formBody(size int) []byte {
	return fmt.Appendf(nil, "--bb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n"+
		"Content-Type: application/octet-stream\r\n\r\n%s\r\n--bb--\r\n", bytes.Repeat([]byte{1, 2, 3, 4}, size/4))
}

func (r fidRange) url(base string, i int) string {
	return fmt.Sprintf("%s/%s,%08x%s", base, r.volume, r.first+uint64(i), r.cookie)
}

// fillRange uploads every fid of r once, 64 at a time.
func fillRange(base string, r fidRange, size int) error {
	var next atomic.Int64
	return parallel(64, func(c *http.Client) (bool, error) {
		i := int(next.Add(1)) - 1
		if i >= r.count {
			return false, nil
		}
		return true, put(c, r.url(base, i), formBody(size))
	})
}

// parallel calls step in so many goroutines until it says that there is no more, or fails.
func parallel(n int, step func(*http.Client) (more bool, err error)) error {
	c := uploader(n)
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wg.Go(func() {
			for {
				more, err := step(c)
				if err != nil {
					errs <- err
				}
				if !more || err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}
