package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"

	"weed/internal/vfs"
)

const (
	logs       = 2
	logBytes   = 8 << 20  // of one log, unless a single transaction is longer
	aheadBytes = 64 << 10 // a log grows in steps of so many: a sync is quicker where the file is long enough already
	// A record is its payload's length (4 bytes), checksum (4), number (8), and the payload.
	headBytes = 16
	// maxBufferBytes is what is kept for the next record.
	maxBufferBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the two logs, which take turns: while one is written to, the changes of the other go into the file. Only
// the committer uses it.
type journal struct {
	files [logs]vfs.File
	sizes [logs]int64 // of the files
	limit int64       // logBytes
	salt  uint64      // of the checksums
	now   int         // the log that is written to
	end   int64       // of what counts in it
	uncut bool        // a record that failed may be behind end
	buf   []byte
}

// openJournal opens the logs, which are made if they are not there.
func openJournal(disk vfs.FS, dir string, limit int64) (*journal, error) {
	j := &journal{limit: limit}
	for i := range j.files {
		name := path.Join(dir, fmt.Sprintf("filer.log.%d", i))
		f, err := disk.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the log: %w", err), j.close())
		}
		j.files[i] = f
		if j.sizes[i], err = f.Size(); err != nil {
			return nil, errors.Join(fmt.Errorf("open the log: %w", err), j.close())
		}
	}
	if err := disk.SyncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open the log: %w", err), j.close())
	}
	return j, nil
}

// fits says whether a record of n bytes may go into the log that is written to. An empty one takes any.
func (j *journal) fits(n int) bool { return j.end == 0 || j.end+int64(n) <= j.limit }

// turn goes to the other log, of which nothing is needed any more.
func (j *journal) turn() {
	j.now, j.end = 1-j.now, 0
}

// append makes a record durable. After an error it is not known whether it is there, until cut has succeeded.
func (j *journal) append(record []byte) error {
	end := j.end + int64(len(record))
	if end > j.sizes[j.now] {
		whole := (end + aheadBytes - 1) / aheadBytes * aheadBytes
		record = append(record, make([]byte, whole-end)...)
	}
	f := j.files[j.now]
	j.uncut = true
	if _, err := f.WriteAt(record, j.end); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	j.uncut = false
	j.sizes[j.now] = max(j.sizes[j.now], j.end+int64(len(record)))
	if j.end = end; cap(j.buf) > maxBufferBytes {
		j.buf = nil
	}
	return nil
}

// cut sees to it that a record that failed does not come to life after a crash.
func (j *journal) cut() error {
	if !j.uncut {
		return nil
	}
	f := j.files[j.now]
	if _, err := f.WriteAt(make([]byte, headBytes), j.end); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cut the log: %w", err)
	}
	j.uncut = false
	return nil
}

func (j *journal) close() error {
	var errs []error
	for i, f := range j.files {
		if f != nil {
			errs = append(errs, f.Close())
			j.files[i] = nil
		}
	}
	return errors.Join(errs...)
}

// encode returns the record of a transaction, in memory that is valid until the next call.
func (j *journal) encode(g *generation) []byte {
	var head [headBytes]byte
	b := append(j.buf[:0], head[:]...)
	b = binary.AppendUvarint(b, g.ids)
	b = binary.AppendUvarint(b, g.drops)
	for i := range g.tables {
		for n := g.tables[i].heads[0]; n != nil; n = n.next {
			kind := byte(i)
			if n.gone {
				kind |= goneBit
			}
			b = append(b, kind)
			b = binary.AppendUvarint(b, uint64(len(n.key)))
			b = append(b, n.key...)
			if !n.gone {
				b = binary.AppendUvarint(b, uint64(len(n.value)))
				b = append(b, n.value...)
			}
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-headBytes))
	binary.BigEndian.PutUint64(b[8:], g.last)
	binary.BigEndian.PutUint32(b[4:], checksum(j.salt, b[8:]))
	j.buf = b
	return b
}

// goneBit of a change's first byte says that its key is gone; the others are the bucket's number.
const goneBit = 0x80

// checksum is the CRC32-C of the salt and a record from its number on. The salt, which nobody outside knows, keeps a
// value that looks like a record from being taken for one.
func checksum(salt uint64, b []byte) uint32 {
	var s [8]byte
	binary.BigEndian.PutUint64(s[:], salt)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, b)
}

// parseRecord returns the number and payload of the record that b begins with; ok is false if there is none.
func parseRecord(salt uint64, b []byte) (number uint64, payload []byte, ok bool) {
	if len(b) < headBytes {
		return 0, nil, false
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n < 2 || n > int64(len(b)-headBytes) {
		return 0, nil, false
	}
	if checksum(salt, b[8:headBytes+n]) != binary.BigEndian.Uint32(b[4:]) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[8:]), b[headBytes : headBytes+n], true
}

var errPayload = errors.New("a record of the log can't be read, though its checksum is right")

// decode adds the changes of a record to a generation. Values are parts of the payload.
func (g *generation) decode(number uint64, payload []byte) error {
	uvarint := func() uint64 {
		v, n := binary.Uvarint(payload)
		if n <= 0 {
			payload = nil
			return 1 << 63 // more than is left
		}
		payload = payload[n:]
		return v
	}
	take := func() ([]byte, bool) {
		n := uvarint()
		if n > uint64(len(payload)) {
			return nil, false
		}
		b := payload[:n:n]
		payload = payload[n:]
		return b, true
	}
	g.last, g.ids, g.drops = number, uvarint(), uvarint()
	for len(payload) > 0 {
		kind := payload[0]
		payload = payload[1:]
		key, ok := take()
		var value []byte
		if ok && kind&goneBit == 0 {
			value, ok = take()
		}
		if !ok || kind&^goneBit >= buckets {
			return fmt.Errorf("%w: number %d", errPayload, number)
		}
		g.tables[kind&^goneBit].set(string(key), value, kind&goneBit != 0)
	}
	return nil
}
