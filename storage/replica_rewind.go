package storage

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"weed/storage/index"
)

// rewind takes back the records that were published and end behind an offset: in the index file, durably, in the
// index, and in what a clean shutdown vouched for.
func (c *committer) rewind(to int64) error {
	v := c.v
	if _, err := c.mendIdx(); err != nil {
		return err
	}
	idxBytes, end, err := c.idxLengthAt(to)
	if err != nil {
		return err
	}
	v.metaMu.Lock()
	if v.meta.Clean != nil && v.meta.Clean.DatBytes > end {
		err = v.markClean(end, min(idxBytes, v.meta.Clean.IdxBytes))
	}
	v.metaMu.Unlock()
	if err == nil {
		err = c.idx.truncate(idxBytes)
	}
	if err != nil {
		return err
	}
	loader, err := c.loadIdxAgain()
	if err != nil {
		return err
	}
	v.publishIndex(loader)
	v.setLength(end)
	v.readOnly.noteFilled(v.cfg.Now)
	return nil
}

// idxLengthAt returns how long the index file is up to the last record that ends at an offset or before it, and where
// that record ends.
func (c *committer) idxLengthAt(to int64) (idxBytes, end int64, err error) {
	loose, end := int64(0), c.v.superblock.Length()
	if c.v.foreign && c.v.meta.Clean != nil { // entries in any order
		loose, end = c.v.meta.Clean.IdxBytes, c.v.meta.Clean.DatBytes
	}
	endOf := func(i int) int64 {
		var b [idxEntrySize]byte
		if e := readFull(c.idx.f, b[:], loose+int64(i)*idxEntrySize); e != nil {
			err = e
			return to + 1
		}
		e := parseIdxEntry(b[:])
		return int64(e.offset)*needleAlignment + recordLength(c.v.superblock.Version, e.bodySize())
	}
	n := sort.Search(int((c.idx.at-loose)/idxEntrySize), func(i int) bool { return endOf(i) > to })
	if n > 0 && err == nil {
		end = endOf(n - 1)
	}
	if err == nil && end > to {
		err = &CorruptError{c.v.dat().Name(), to, "it would have to be cut where another program wrote it"}
	}
	return loose + int64(n)*idxEntrySize, end, err
}

// loadIdxAgain reads the whole index file.
func (c *committer) loadIdxAgain() (*index.Loader, error) {
	loader := index.NewLoader()
	err := readIdx(io.NewSectionReader(c.idx.f, 0, c.idx.at), func(e idxEntry) { e.loadInto(loader) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.idx.f.Name(), err)
	}
	return loader, nil
}

// readIdx hands each entry of an index file that is known to be good to apply.
func readIdx(from io.Reader, apply func(idxEntry)) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(from, buf)
		for i := 0; i+idxEntrySize <= n; i += idxEntrySize {
			apply(parseIdxEntry(buf[i:]))
		}
		switch {
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}
