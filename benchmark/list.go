package benchmark

import (
	"bufio"
	"errors"
	"fmt"
	"os"
)

// writeList writes the fids that can be read again, one per line.
func writeList(name string, items []item, skip func(item) bool) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	var line []byte
	for _, it := range items {
		if skip(it) {
			continue
		}
		line = append(it.fid().AppendText(line[:0]), '\n')
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	return w.Flush()
}

// readList reads fids, one per line; empty lines are skipped.
func readList(name string) ([]item, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	var items []item
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if lines.Text() == "" {
			continue
		}
		it, err := itemOf(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrInvalid, name, n, err)
		}
		if len(items) == maxN {
			return nil, fmt.Errorf("%w: %s has more than %d fids", ErrInvalid, name, maxN)
		}
		items = append(items, it)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%w: %s has no fids", ErrInvalid, name)
	}
	return items, nil
}
