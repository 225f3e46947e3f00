package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weed/filer"
	filerstore "weed/filer/store"
	"weed/filer/store/bolt"
)

const (
	// plainFilerEnv makes this program be the filer's yardstick: a filer whose store makes each change a transaction
	// of its own. Its value is "addr master dir".
	plainFilerEnv = "WEED_BENCH_PLAIN_FILER"

	filerFiles   = 20_000 // of the random read
	pageEntries  = 1000
	largeBytes   = 1 << 30
	chunkBytes   = 4 << 20
	chunksAtOnce = 4 // as the filer sends them
)

// servePlainFiler is that filer, until it is told to end.
func servePlainFiler(setting string) error {
	args := strings.Fields(setting)
	if len(args) != 3 {
		return fmt.Errorf("odd %s", plainFilerEnv)
	}
	s, err := bolt.OpenPlain(args[2], filerstore.Options{FIDs: filer.FIDs})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	f, err := filer.New(filer.Config{Bind: args[0], Masters: []string{args[1]}, Alone: true},
		filer.Deps{Store: s, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err == nil {
		err = f.Run(ctx)
	}
	return errors.Join(err, s.Close())
}

// filerStore is a cluster with a filer.
type filerStore struct {
	*store
	filer *process
	dir   string // of the filer's store
}

func (f *filerStore) all() []*process { return []*process{f.filer, f.volume, f.master} }

func (f *filerStore) url(path string) string { return "http://" + f.filer.addr + path }

// startFiler runs a filer beside an empty store that syncs each write.
func (b *bench) startFiler() (*filerStore, error) {
	s, err := b.startStore("always")
	if err != nil {
		return nil, err
	}
	f := &filerStore{store: s}
	if f.dir, err = os.MkdirTemp(b.dir, "filer-"); err != nil {
		return nil, err
	}
	return f, b.runFiler(f)
}

func (b *bench) runFiler(f *filerStore) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	if f.filer, err = b.start(addr, b.weed, "filer", "-port="+port(addr), "-dir="+f.dir, "-master="+f.master.addr); err != nil {
		return err
	}
	return b.wait(func() error { return getJSON(f.url("/readyz"), nil) })
}

// startPlainFiler runs the yardstick on the same cluster.
func (b *bench) startPlainFiler(f *filerStore) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	setting := addr + " " + f.master.addr + " " + filepath.Join(b.dir, "plain-filer")
	p, err := b.start(addr, "env", plainFilerEnv+"="+setting, self)
	if err != nil {
		return nil, err
	}
	return p, b.wait(func() error { return getJSON("http://"+addr+"/readyz", nil) })
}

// filePutScript makes files of 1 KiB, each of another name.
func filePutScript(dir string) string {
	return threads + fmt.Sprintf(`
local body = string.rep("\1\2\3\4", 256)
local headers = {["Content-Type"] = "application/octet-stream"}
function request()
  k = k + 1
  return wrk.format("PUT", string.format("/%s/%%d-%%08d", id, k), headers, body)
end
`, dir)
}

// smallFiles measures files of 1 KiB on an embedded store: processor time, and how much the store's committer gains.
func (b *bench) smallFiles() error {
	f, err := b.startFiler()
	if err != nil {
		return err
	}
	plain, err := b.startPlainFiler(f)
	if err != nil {
		return err
	}
	var next atomic.Int64
	body := bytes.Repeat([]byte{1, 2, 3, 4}, 256)
	err = parallel(16, func(c *http.Client) (bool, error) {
		i := int(next.Add(1)) - 1
		if i >= filerFiles {
			return false, nil
		}
		return true, send(c, f.url(fmt.Sprintf("/read/%d", i)), bytes.NewReader(body), int64(len(body)))
	})
	if err != nil {
		return err
	}
	get := randomScript(filerFiles, `string.format("/read/%d", i)`)
	var puts, gets, gains []float64
	for round := range b.rounds {
		cost, rate, err := b.costAndRate(f.filer.addr, filePutScript(fmt.Sprint("put", round)), 16, f.all()...)
		if err != nil {
			return err
		}
		_, plainRate, err := b.costAndRate(plain.addr, filePutScript(fmt.Sprint("put", round)), 16, plain)
		if err != nil {
			return fmt.Errorf("one transaction per PUT: %w", err)
		}
		puts, gains = append(puts, sum(cost)), append(gains, rate/plainRate)
		if cost, _, err = b.costAndRate(f.filer.addr, get, 16, f.all()...); err != nil {
			return err
		}
		gets = append(gets, sum(cost))
	}
	b.atMost("CPU of filer, volume and master per durable 1 KiB PUT, 16 connections", median(puts), 200, "µs")
	b.atMost("CPU of filer, volume and master per 1 KiB GET, 16 connections", median(gets), 90, "µs")
	b.ratio("durable PUTs, 16 connections, against one store transaction per PUT", median(gains), 3)
	return nil
}

// send puts a body to a URL.
func send(c *http.Client, url string, body io.Reader, size int64) error {
	req, err := http.NewRequest(http.MethodPut, url, body) //nolint:noctx // ends with the run
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.Do(req)
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

// largeDirectory measures pages of a directory of many entries.
func (b *bench) largeDirectory() error {
	f, err := b.startFiler()
	if err != nil {
		return err
	}
	c := uploader(1)
	defer c.CloseIdleConnections()
	if err := send(c, f.url("/many/file"), strings.NewReader("x"), 1); err != nil {
		return err
	}
	f.filer.stop()
	if err := fillDirectory(f.dir, b.entries); err != nil {
		return err
	}
	if err := b.runFiler(f); err != nil {
		return err
	}
	var took []float64
	before, err := f.filer.cpu()
	if err != nil {
		return err
	}
	const pages = 50
	for i := range pages {
		after := fmt.Sprintf("file-%08d", i*(b.entries/pages))
		begin := time.Now()
		var text json.RawMessage
		if err := getJSON(f.url(fmt.Sprintf("/many/?limit=%d&lastFileName=%s", pageEntries, after)), &text); err != nil {
			return err
		}
		took = append(took, float64(time.Since(begin).Microseconds())/1e3)
		var page struct{ Entries []struct{ FullPath string } }
		if err := json.Unmarshal(text, &page); err != nil {
			return err
		}
		if len(page.Entries) < min(pageEntries, b.entries/pages-1) {
			return fmt.Errorf("a page has %d entries", len(page.Entries))
		}
	}
	used, err := f.filer.cpu()
	if err != nil {
		return err
	}
	what := fmt.Sprintf("a page of %d from a directory of %d", pageEntries, b.entries)
	b.atMost(what, median(took), 15, "ms")
	b.note("CPU of the filer for it", float64((used-before).Microseconds())/1e3/pages, "ms")
	return nil
}

// fillDirectory multiplies the file /many/file of a store that nobody uses.
func fillDirectory(dir string, count int) (err error) {
	s, err := bolt.Open(dir, filerstore.Options{FIDs: filer.FIDs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx := context.Background()
	model, err := s.Find(ctx, "/many/file")
	if err != nil {
		return err
	}
	var next atomic.Int64
	var group sync.WaitGroup
	const writers = 512
	errs := make(chan error, writers)
	for range writers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				path := filerstore.Path(fmt.Sprintf("/many/file-%08d", i))
				if _, err := s.Put(ctx, path, 0, filerstore.Record{Value: model.Value}, filerstore.Effects{}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

// pattern yields so many bytes.
type pattern struct{ left int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	p.left -= int64(n)
	return n, nil
}

// largeFile compares a file of 1 GiB with the same bytes as blobs of a volume server, in turns.
func (b *bench) largeFile() error {
	f, err := b.startFiler()
	if err != nil {
		return err
	}
	c := uploader(chunksAtOnce)
	defer c.CloseIdleConnections()
	timed := func(what func() error) (seconds float64, err error) {
		begin := time.Now()
		err = what()
		return time.Since(begin).Seconds(), err
	}
	var writes, reads, fileWrites, fileReads []float64
	for round := range b.rounds {
		r, err := f.assign(largeBytes / chunkBytes)
		if err != nil {
			return err
		}
		base := "http://" + f.volume.addr
		file := f.url(fmt.Sprintf("/large/%d", round))
		var times [4]float64
		for i, step := range []func() error{
			func() error { return putBlobs(base, r) },
			func() error { return send(c, file, &pattern{largeBytes}, largeBytes) },
			func() error {
				for i := range r.count {
					if err := fetch(c, r.url(base, i), chunkBytes); err != nil {
						return err
					}
				}
				return nil
			},
			func() error { return fetch(c, file, largeBytes) },
		} {
			if times[i], err = timed(step); err != nil {
				return err
			}
		}
		writes, fileWrites = append(writes, times[0]/times[1]), append(fileWrites, times[1])
		reads, fileReads = append(reads, times[2]/times[3]), append(fileReads, times[3])
	}
	b.note("writing a file of 1 GiB", median(fileWrites), "s")
	b.ratio("its rate against 4 MiB blobs straight to the volume server", median(writes), 0.5)
	b.note("reading a file of 1 GiB", median(fileReads), "s")
	b.ratio("its rate against 4 MiB blobs straight from the volume server", median(reads), 0.5)
	return nil
}

// putBlobs uploads every fid of r, as many at once as a filer does.
func putBlobs(base string, r fidRange) error {
	var next atomic.Int64
	return parallel(chunksAtOnce, func(c *http.Client) (bool, error) {
		i := int(next.Add(1)) - 1
		if i >= r.count {
			return false, nil
		}
		return true, send(c, r.url(base, i), &pattern{chunkBytes}, chunkBytes)
	})
}

// fetch reads what a URL answers, which has to be of a size.
func fetch(c *http.Client, url string, size int64) error {
	resp, err := c.Get(url) //nolint:noctx // ends with the run
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10))
	if err == nil && (n != size || resp.StatusCode != http.StatusOK) {
		err = fmt.Errorf("get %s: %s with %d bytes", url, resp.Status, n)
	}
	return err
}
