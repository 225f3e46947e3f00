package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"weed/internal/vfs"
)

// The layouts of `.meta`: the second is written while a compaction has been decided and may be unfinished, the third
// when there is an origin, so that no older program takes the files for what they are not.
const (
	metaVersion          = 1
	metaVersionCompacted = 2
	metaVersionOrigin    = 3
)

// maxMetaBytes bounds what is read of a `.meta` or `.vif` file.
const maxMetaBytes = 1 << 20

// meta is the content of a volume's `.meta` file: what can't be told from the log. It is replaced as a
// whole, atomically.
type meta struct {
	Version int `json:"version"`
	// ReadOnly is the operator's mark.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Synced says that each `.idx` entry was written after a sync that covers its needle: the volume has only
	// been open with SyncAlways. So entries that point at what is not there prove damage.
	Synced bool `json:"synced,omitempty"`
	// Foreign says that another program made the volume, so that the `.idx` entries below Clean.IdxBytes may
	// come in any order.
	Foreign bool `json:"foreign,omitempty"`
	// Clean is written after both files were synced: at a clean shutdown, and before we first append to a
	// foreign volume. It stays true for ever: whatever the files gain later, their first bytes were complete
	// and durable up to these lengths.
	Clean *cleanMark `json:"clean,omitempty"`
	// Replication is what a Replicator keeps.
	Replication json.RawMessage `json:"replication,omitempty"`
	// Elsewhere says that other servers hold all that was acknowledged, too: what a power cut has taken comes from
	// them.
	Elsewhere bool `json:"elsewhere,omitempty"`
	// Backup says that a Mirror made the files, and may replace them.
	Backup bool `json:"backup,omitempty"`
	// Compacted is the revision of the log as it is from now on: that of the `.cpd` file, if there is one, which gets
	// the log's name before anything else is done. Clean is about that log.
	Compacted *uint16 `json:"compacted,omitempty"`
	// Origin tells which compaction has made the log; nil if none of ours has.
	Origin *Origin `json:"origin,omitempty"`
}

type cleanMark struct {
	DatBytes int64 `json:"datBytes"`
	IdxBytes int64 `json:"idxBytes"`
}

// readMeta reads name. A missing file is (nil, nil).
func readMeta(fsys vfs.FS, name string) (*meta, error) {
	var m meta
	ok, err := readJSON(fsys, name, &m)
	if err != nil || !ok {
		return nil, err
	}
	if m.Version < metaVersion || m.Version > metaVersionOrigin {
		return nil, fmt.Errorf("%s has version %d, this program reads %d: use a newer one", name, m.Version, metaVersionOrigin)
	}
	return &m, nil
}

// write replaces the file and makes it durable.
func (m *meta) write(fsys vfs.FS, name string) error {
	switch {
	case m.Origin != nil:
		m.Version = metaVersionOrigin
	case m.Compacted != nil:
		m.Version = metaVersionCompacted
	default:
		m.Version = metaVersion
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	return writeFileAtomic(fsys, name, append(text, '\n'))
}

// foreignInfo is what is read of a foreign volume's `.vif` file. The file itself is left as it is.
type foreignInfo struct {
	ReadOnly bool `json:"readOnly"`
}

func readForeignInfo(fsys vfs.FS, name string) (foreignInfo, error) {
	var info foreignInfo
	_, err := readJSON(fsys, name, &info)
	return info, err
}

// readJSON decodes a small file; ok is false when it does not exist.
func readJSON(fsys vfs.FS, name string, into any) (ok bool, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxMetaBytes))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, &CorruptError{name, 0, err.Error()}
	}
	return true, nil
}

// writeFileAtomic puts content under name so that after a crash the file is the old one or the new one:
// write a temporary file, sync it, rename it, sync the directory.
func writeFileAtomic(fsys vfs.FS, name string, content []byte) error {
	temp := name + ".tmp"
	f, err := fsys.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("create %s: %w", temp, err)
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", temp, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		return fmt.Errorf("rename %s: %w", temp, err)
	}
	if err := fsys.SyncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("sync directory of %s: %w", name, err)
	}
	return nil
}
