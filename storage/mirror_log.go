package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// mirrorLog is a volume's files on their way to become equal to a remote log, of which they hold a prefix. While that
// is so, .meta says that what is lost here is elsewhere, so whatever a crash has torn is cut when they are opened again.
type mirrorLog struct {
	fs      vfs.FS
	base    string
	super   Superblock
	dat     vfs.File
	idx     *idxWriter
	scanner *logScanner
	length  int64 // of the file
	checked int64 // up to here there are whole records, which are in the index file
	begun   bool  // .meta says that the files are incomplete
}

// openMirrorLog takes up the volume in a directory as a start of a server would: what a crash has left of an append is
// cut off. It returns nil if there is none, or one that is damaged, or of another program.
func openMirrorLog(fsys vfs.FS, dir, collection string, id blob.VolumeID, cfg Config) (*mirrorLog, error) {
	cfg.Sync = SyncNever
	v, err := openVolume(fsys, dir, id, collection, cfg)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt):
		return nil, nil
	case err != nil:
		return nil, err
	}
	damaged := v.readOnly.load()&(CauseDamaged|CauseFiles) != 0
	if err := v.Close(); err != nil || damaged || v.foreign {
		return nil, err
	}
	return v.mirror()
}

// mirror opens the files of a volume that was closed cleanly.
func (v *Volume) mirror() (*mirrorLog, error) {
	l := &mirrorLog{fs: v.fs, base: v.base, super: v.superblock, length: v.stats.length.Load()}
	l.checked = l.length
	var err error
	if l.dat, err = v.fs.OpenFile(v.base+".dat", os.O_RDWR, 0); err != nil {
		return nil, err
	}
	idx, err := v.fs.OpenFile(v.base+".idx", os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, l.dat.Close())
	}
	l.idx = &idxWriter{f: idx, at: v.meta.Clean.IdxBytes}
	l.scanner = newLogScanner(l.dat, l.super.Version, MaxVolumeSizeBytes)
	l.scanner.end = l.length
	return l, nil
}

// createMirrorLog begins with the superblock of a remote log, its extra part included.
func createMirrorLog(fsys vfs.FS, dir, collection string, id blob.VolumeID, head []byte, cfg Config) (*mirrorLog, error) {
	base := path.Join(dir, blob.VolumeFileName(collection, id))
	for _, ext := range append([]string{".dat"}, sideExtensions...) {
		if err := ignoreMissing(fsys.Remove(base + ext)); err != nil {
			return nil, err
		}
	}
	m := meta{Elsewhere: true, Backup: true, Clean: &cleanMark{DatBytes: int64(len(head))}}
	if err := m.write(fsys, base+".meta"); err != nil {
		return nil, err
	}
	if err := writeFileAtomic(fsys, base+".idx", nil); err != nil {
		return nil, err
	}
	if err := writeFileAtomic(fsys, base+".dat", head); err != nil {
		return nil, err
	}
	return openMirrorLog(fsys, dir, collection, id, cfg)
}

// prefixSamples are the ranges that isPrefixOf compares besides the end.
const (
	prefixSamples     = 16
	prefixSampleBytes = 4 << 10
	prefixTailBytes   = 64 << 10
)

// isPrefixOf reports whether the log is the beginning of a remote one: the superblocks are equal, so are the last 64
// KiB, which in a log of version 3 hold times of appends that no other log has there, and so are samples of what is
// before.
func (l *mirrorLog) isPrefixOf(remote *RemoteLog, head []byte) (bool, error) {
	if l.length > remote.Length || l.length < int64(len(head)) {
		return false, nil
	}
	if same, err := l.equals(remote, 0, int64(len(head))); err != nil || !same {
		return same, err
	}
	if same, err := l.equals(remote, max(0, l.length-prefixTailBytes), l.length); err != nil || !same {
		return same, err
	}
	for i := range int64(prefixSamples) {
		at := l.length / prefixSamples * i
		if same, err := l.equals(remote, at, min(at+prefixSampleBytes, l.length)); err != nil || !same {
			return same, err
		}
	}
	return true, nil
}

func (l *mirrorLog) equals(remote *RemoteLog, from, to int64) (bool, error) {
	here, there := make([]byte, to-from), make([]byte, to-from)
	if len(here) == 0 {
		return true, nil
	}
	if err := readFull(l.dat, here, from); err != nil {
		return false, err
	}
	if err := remote.Read(there, from); err != nil {
		return false, err
	}
	return bytes.Equal(here, there), nil
}

// begin writes down, before the first byte is appended, that the files are about to be incomplete.
func (l *mirrorLog) begin() error {
	if l.begun {
		return nil
	}
	m, err := readMeta(l.fs, l.base+".meta")
	if err != nil {
		return err
	}
	if m == nil {
		return &CorruptError{l.base + ".meta", 0, "it has vanished"}
	}
	m.Elsewhere, m.Synced = true, false
	l.begun = true
	return m.write(l.fs, l.base+".meta")
}

// append adds bytes of the remote log and checks the records that are whole with them. A record that is not what was
// written is a *CorruptError; what was appended from there on is not part of the log.
func (l *mirrorLog) append(b []byte) error {
	if err := l.begin(); err != nil {
		return err
	}
	if _, err := l.dat.WriteAt(b, l.length); err != nil {
		return diskError(err)
	}
	l.length += int64(len(b))
	l.scanner.end, l.scanner.n = l.length, 0
	for l.checked < l.length {
		r, v, err := l.scanner.check(l.checked)
		switch {
		case err != nil:
			return err
		case v == recordIncomplete:
			return nil
		case v == recordBad:
			return &CorruptError{l.dat.Name(), l.checked, "the server sends no valid needle for here"}
		}
		l.idx.add(entryOf(r.header, r.offset))
		l.checked += r.length
	}
	return l.idx.err
}

// rewind forgets what was appended behind the last whole record.
func (l *mirrorLog) rewind() error {
	l.length = l.checked
	return l.dat.Truncate(l.checked)
}

// finish makes everything durable, says so in .meta, and closes the files.
func (l *mirrorLog) finish() error {
	if l.checked != l.length {
		return errors.Join(&CorruptError{l.dat.Name(), l.checked, "the log ends inside a needle"}, l.close())
	}
	if !l.begun {
		return l.close()
	}
	err := l.dat.Sync()
	if err == nil {
		err = l.idx.sync()
	}
	if err == nil {
		m := meta{Synced: true, Backup: true, Clean: &cleanMark{DatBytes: l.length, IdxBytes: l.idx.at}}
		err = m.write(l.fs, l.base+".meta")
	}
	if err != nil {
		err = fmt.Errorf("make %s durable: %w", l.dat.Name(), diskError(err))
	}
	return errors.Join(err, l.close())
}

// close keeps what there is for a later try.
func (l *mirrorLog) close() error {
	_, err := l.idx.close()
	return errors.Join(err, l.dat.Close())
}
