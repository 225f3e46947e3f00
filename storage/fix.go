package storage

import (
	"errors"
	"fmt"
	"os"
	"path"

	"weed/storage/index"
)

// Fixed is what Offline.Fix has found in a log.
type Fixed struct {
	LogBytes int64 // length of the file
	Puts     int64 // records of blobs that are whole
	Deletes  int64 // tombstones
	Live     int   // blobs that can be read now
	Lost     []Damage
	// LostBytes is the sum of Lost, which lists the first maxLostListed only; LostCount is how many there are.
	LostBytes int64
	LostCount int
}

// maxLostListed bounds Fixed.Lost.
const maxLostListed = 1000

// Fix rebuilds the index file from the log. Behind what is damaged it goes on at the next needle that is certainly one,
// and it says what it had to leave out. The log is not changed. The old index file stays until the new one is whole and
// durable; of one that another program wrote only is kept which needles of size 0 are empty blobs rather than
// tombstones, as the log does not tell. A deletion that another program has noted there alone is undone. reached is told
// now and then how far it is, in bytes of the log, and ends the work by an error.
func (o *Offline) Fix(reached func(offset, length int64) error) (fixed Fixed, err error) {
	dat, err := o.fs.OpenFile(o.base()+".dat", os.O_RDONLY, 0)
	if err != nil {
		return fixed, err
	}
	defer func() { err = errors.Join(err, dat.Close()) }()
	super, err := readSuperblock(dat)
	if err != nil {
		return fixed, err
	}
	if fixed.LogBytes, err = dat.Size(); err != nil {
		return fixed, err
	}
	if fixed.LogBytes > MaxVolumeSizeBytes {
		return fixed, fmt.Errorf("%s is %d bytes long, more than its offsets can address", dat.Name(), fixed.LogBytes)
	}
	empty, err := o.emptyBlobs()
	if err != nil {
		return fixed, err
	}
	temp := o.base() + ".idx.tmp"
	f, err := o.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fixed, err
	}
	w := &idxWriter{f: f, dirty: true}
	live := index.NewLoader()
	walk := walker{
		scanner: newLogScanner(dat, super.Version, fixed.LogBytes),
		record:  func(r logRecord, good bool) error { return fixed.note(w, live, empty, r, good) },
		lost: func(d Damage) error {
			if fixed.LostCount++; len(fixed.Lost) < maxLostListed {
				fixed.Lost = append(fixed.Lost, d)
			}
			fixed.LostBytes += d.Length
			return nil
		},
		reached: func(offset int64) error { return reached(offset, fixed.LogBytes) },
	}
	err = walk.walk(super.Length())
	if _, closeErr := w.close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = o.forgetOrder()
	}
	if err == nil {
		err = o.fs.Rename(temp, o.base()+".idx")
	}
	if err != nil {
		return fixed, errors.Join(fmt.Errorf("rebuild %s.idx: %w", o.base(), diskError(err)), ignoreMissing(o.fs.Remove(temp)))
	}
	m, _ := live.Map()
	fixed.Live = m.Len()
	return fixed, o.fs.SyncDir(path.Dir(o.base()))
}

// note takes a record into the new index file. A damaged one stays out: the gap tells every program that opens the
// volume to look again.
func (f *Fixed) note(w *idxWriter, live *index.Loader, empty map[idxEntry]struct{}, r logRecord, good bool) error {
	if !good {
		live.Delete(r.key)
		return nil
	}
	e := idxEntry{key: r.key, offset: uint32(r.offset / needleAlignment), size: int32(r.size)}
	if _, isBlob := empty[e]; r.size == 0 && !isBlob {
		e.size = tombstoneSize
		f.Deletes++
		live.Delete(r.key)
	} else {
		f.Puts++
		live.Put(r.key, index.Location{Offset: e.offset, Size: uint32(e.size)})
	}
	w.add(e)
	return w.err
}

// emptyBlobs returns the entries of the old index file that name a live needle of size 0, which only other programs
// write.
func (o *Offline) emptyBlobs() (map[idxEntry]struct{}, error) {
	f, err := o.fs.OpenFile(o.base()+".idx", os.O_RDONLY, 0)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	defer f.Close()
	empty := map[idxEntry]struct{}{}
	size, err := f.Size()
	buf := make([]byte, idxFlushBytes)
	for at := int64(0); err == nil && at+idxEntrySize <= size; at += int64(len(buf)) {
		buf = buf[:min(int64(cap(buf)), (size-at)/idxEntrySize*idxEntrySize)]
		if err = readFull(f, buf, at); err != nil {
			break
		}
		for i := 0; i < len(buf); i += idxEntrySize {
			if e := parseIdxEntry(buf[i:]); e.size == 0 && e.offset != 0 {
				empty[e] = struct{}{}
			}
		}
	}
	return empty, err
}

// forgetOrder sees to it that the new index file is not judged by what was known of the old one: entries of another
// program may come in any order, these do not.
func (o *Offline) forgetOrder() error {
	name := o.base() + ".meta"
	m, err := readMeta(o.fs, name)
	if err != nil || m == nil || !m.Foreign || m.Clean == nil {
		return ignoreCorrupt(err)
	}
	m.Clean = &cleanMark{DatBytes: m.Clean.DatBytes}
	return m.write(o.fs, name)
}
