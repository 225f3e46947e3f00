package export

import (
	"archive/tar"
	"fmt"
	"io"
)

// Tar is an archive that is being written.
type Tar struct {
	w     *tar.Writer
	names *Names
}

// NewTar begins an archive. It does not close w.
func NewTar(w io.Writer, names *Names) *Tar { return &Tar{w: tar.NewWriter(w), names: names} }

// Add appends a blob, of which content gives b.SizeBytes bytes. After an error the archive can't be gone on with.
func (t *Tar) Add(b *Blob, content io.Reader) error {
	name, err := t.names.Of(b)
	if err != nil {
		return err
	}
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Size: b.SizeBytes, Mode: 0o644, ModTime: b.modified()}
	if err := t.w.WriteHeader(&header); err != nil {
		return fmt.Errorf("archive %s: %w", b.FID, err)
	}
	n, err := io.Copy(t.w, content)
	if err == nil && n < b.SizeBytes {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", b.FID, err)
	}
	return nil
}

// Close ends the archive.
func (t *Tar) Close() error { return t.w.Close() }
