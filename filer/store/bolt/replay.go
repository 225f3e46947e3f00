package bolt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"weed/internal/vfs"
)

// errDamaged says that the log has lost changes that were durable.
var errDamaged = errors.New("the log is damaged")

// logged is what a log holds.
type logged struct {
	file    vfs.File
	numbers []uint64 // of the records from its beginning on, one behind the other
	records [][]byte // their payloads
	end     int64    // where they end
	stray   uint64   // number of a record behind that, 0 if there is none
}

// first is the number with which the log begins.
func (l *logged) first() uint64 {
	if len(l.numbers) > 0 {
		return l.numbers[0]
	}
	return l.stray
}

// replay returns the changes behind number done that the logs hold. A record that was torn by a crash ends them. Each
// record was written when the one before was durable, so when there is a later one behind a gap, it is damage.
func (j *journal) replay(done uint64) (*generation, error) {
	var all [logs]*logged
	for i, f := range j.files {
		var err error
		if all[i], err = readLog(f, j.sizes[i], j.salt, done); err != nil {
			return nil, err
		}
	}
	order := all
	slices.SortStableFunc(order[:], func(a, b *logged) int { return cmp.Compare(a.first(), b.first()) })
	g := &generation{last: done}
	for i, l := range order {
		for k, number := range l.numbers {
			switch {
			case number <= done:
				continue
			case number > g.last+1: // the log before has lost its end
				return nil, damage(order[1-i], g.last+1, number)
			}
			if err := g.decode(number, l.records[k]); err != nil {
				return nil, fmt.Errorf("%s: %w", l.file.Name(), err)
			}
		}
	}
	for _, l := range all {
		if l.stray > g.last {
			return nil, damage(l, g.last+1, l.stray)
		}
	}
	return g, nil
}

func damage(l *logged, missing, found uint64) error {
	return fmt.Errorf("%s, byte %d: %w: change %d can't be read, but change %d, which is later, is there: nothing was touched; "+
		"restore filer.db and both filer.log files from one backup, or remove the two logs and lose what was changed last",
		l.file.Name(), l.end, errDamaged, missing, found)
}

// readLog reads a log. Numbers up to done are of no interest behind a gap: they are left from an earlier turn.
func readLog(f vfs.File, size int64, salt, done uint64) (*logged, error) {
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && (err != io.EOF || size > 0) {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	l := &logged{file: f}
	for {
		number, payload, ok := parseRecord(salt, b[l.end:])
		if !ok || len(l.numbers) > 0 && number != l.numbers[len(l.numbers)-1]+1 {
			break
		}
		l.numbers, l.records = append(l.numbers, number), append(l.records, payload)
		l.end += int64(headBytes + len(payload))
	}
	plausible := uint64(size) / headBytes * logs // records in the logs at most
	for at := l.end; at+headBytes <= size; at++ {
		number := binary.BigEndian.Uint64(b[at+8:])
		if number <= done || number-done > plausible {
			continue
		}
		if _, _, ok := parseRecord(salt, b[at:]); ok {
			l.stray = number
			break
		}
	}
	return l, nil
}
