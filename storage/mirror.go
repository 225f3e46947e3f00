package storage

import (
	"errors"
	"fmt"
	"io"
	"path"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// Mirror is a copy of one volume in a directory of its own making, which follows the log of a server. At any moment,
// also after a crash, the directory holds a whole volume that can be served, once there was one.
type Mirror struct {
	fs         vfs.FS
	dir        string
	id         blob.VolumeID
	collection string
	cfg        Config
	lock       io.Closer
}

// RemoteLog is the committed log of a volume on a server.
type RemoteLog struct {
	Length int64 // in bytes
	// Read fills all of p, at most MaxRemoteRead bytes, from an offset. It fails with ErrCompacted when the log is not
	// the one any more that it was, with any other error when the server does not answer.
	Read func(p []byte, offset int64) error
}

// MaxRemoteRead is how many bytes of a remote log are asked for at once, at most.
const MaxRemoteRead = 1 << 20

// ErrCompacted: a log was replaced by one without what was deleted; offsets mean something else now.
var ErrCompacted = errors.New("the volume was compacted meanwhile")

// Mirrored says what Mirror.Update has done.
type Mirrored struct {
	Full   bool   // all of the log was copied, not only what is new
	Reason string // why Full
	Length int64  // of the log now
	Bytes  int64  // that were copied by this call
}

// OpenMirror makes and locks a directory. Errors: ErrInUse, or the disk's.
func OpenMirror(fsys vfs.FS, dir, collection string, id blob.VolumeID, cfg Config) (*Mirror, error) {
	if err := blob.CheckCollection(collection); err != nil {
		return nil, err
	}
	m := &Mirror{fs: fsys, dir: path.Clean(dir), id: id, collection: collection, cfg: cfg.withDefaults()}
	if err := makeDirectory(fsys, m.dir); err != nil {
		return nil, fmt.Errorf("directory %s can't be made: %w", dir, err)
	}
	var err error
	m.lock, err = lockDirectory(fsys, m.dir)
	return m, err
}

// Close gives the directory back.
func (m *Mirror) Close() error { return m.lock.Close() }

// Update brings the copy up to the remote log: by what is new if the copy is a prefix of it, else as a whole, beside the
// old copy, which stays until then. What an earlier call has not finished is gone on with. Every record is verified as it
// arrives. reached is told how far it is, in bytes. Errors: ErrNoBackup; ErrCompacted, after which the caller looks at the remote log
// anew; *CorruptError when a record does not arrive as it was written; those of Read and of the disk.
func (m *Mirror) Update(remote *RemoteLog, reached func(offset int64)) (Mirrored, error) {
	head := make([]byte, SuperblockSize)
	if err := remote.Read(head, 0); err != nil {
		return Mirrored{}, err
	}
	super, err := ParseSuperblock(head)
	if err != nil {
		return Mirrored{}, err
	}
	if super.ExtraLength > 0 {
		head = make([]byte, super.Length())
		if err := remote.Read(head, 0); err != nil {
			return Mirrored{}, err
		}
	}
	if err := m.checkOurs(); err != nil {
		return Mirrored{}, err
	}
	l, err := openMirrorLog(m.fs, m.dir, m.collection, m.id, m.cfg)
	if err != nil {
		return Mirrored{}, err
	}
	reason := "there was none"
	if l != nil {
		same, err := l.isPrefixOf(remote, head)
		if err == nil && same {
			done, err := m.follow(l, remote, reached)
			return done, errors.Join(err, dropStaged(m.fs, m.base(), partialSuffix))
		}
		if reason = "the copy was of another log"; l.super.Revision != super.Revision {
			reason = "the volume was compacted"
		}
		if err = errors.Join(err, l.close()); err != nil {
			return Mirrored{}, err
		}
	} else if _, err := m.fs.Stat(m.base() + ".dat"); err == nil {
		reason = "the copy was damaged"
	}
	if l, err = m.partial(remote, head); err != nil {
		return Mirrored{}, err
	}
	done, err := m.follow(l, remote, reached)
	done.Full, done.Reason = true, reason
	if err == nil {
		err = swapIn(m.fs, m.base(), partialSuffix)
	}
	return done, err
}

func (m *Mirror) base() string { return path.Join(m.dir, blob.VolumeFileName(m.collection, m.id)) }

// ErrNoBackup: there is a volume already, which no Mirror has made, so it is not to be replaced.
var ErrNoBackup = errors.New("it is no backup: choose another directory, or move it away")

// checkOurs refuses to touch a volume that was not made by a Mirror.
func (m *Mirror) checkOurs() error {
	if err := finishSwap(m.fs, m.base()); err != nil {
		return err
	}
	if _, err := m.fs.Stat(m.base() + ".dat"); err != nil {
		return ignoreMissing(err)
	}
	known, err := readMeta(m.fs, m.base()+".meta")
	if err = ignoreCorrupt(err); err == nil && (known == nil || !known.Backup) {
		err = fmt.Errorf("%s.dat: %w", m.base(), ErrNoBackup)
	}
	return err
}

// partial returns the copy of the whole log that grows: that of an earlier call if it fits, else a new one.
func (m *Mirror) partial(remote *RemoteLog, head []byte) (*mirrorLog, error) {
	beside := suffixFS{m.fs, partialSuffix}
	l, err := openMirrorLog(beside, m.dir, m.collection, m.id, m.cfg)
	if err != nil {
		return nil, err
	}
	if l != nil {
		same, err := l.isPrefixOf(remote, head)
		if same && err == nil {
			l.begun = true // as it has been said when that was begun
			return l, nil
		}
		if err = errors.Join(err, l.close()); err != nil {
			return nil, err
		}
	}
	l, err = createMirrorLog(beside, m.dir, m.collection, m.id, head, m.cfg)
	if err == nil && l == nil {
		err = fmt.Errorf("begin a copy %s.dat%s: %w", m.base(), partialSuffix, ErrCorrupt)
	}
	if l != nil {
		l.begun = true
	}
	return l, err
}

// follow appends what is missing and closes the log.
func (m *Mirror) follow(l *mirrorLog, remote *RemoteLog, reached func(offset int64)) (Mirrored, error) {
	done := Mirrored{Length: l.length}
	buf := make([]byte, MaxRemoteRead)
	for l.length < remote.Length {
		b := buf[:min(int64(len(buf)), remote.Length-l.length)]
		err := remote.Read(b, l.length)
		if err == nil {
			err = l.append(b)
		}
		if err != nil {
			return done, errors.Join(err, l.rewind(), l.close())
		}
		done.Bytes += int64(len(b))
		done.Length = l.length
		reached(l.length)
	}
	return done, l.finish()
}
