// Package export writes the blobs of a volume out for other programs: as a tar archive, or as a listing.
//
// It owns the names in the archive and the columns of the listing. It refuses to know where blobs come from, a file or
// a server: the caller hands them in one by one.
//
// Names are made by a text/template with the fields of NameFields. Whatever that gives, and whatever a blob was called
// by who stored it, a name in an archive is relative, has no "..", no control characters and no element of more
// than 255 bytes, so that unpacking stays below the directory where it is done; and no two blobs of an archive
// have the same.
//
// A blob that is stored compressed goes into the archive as it is stored, with ".gz" behind its name, as other
// programs of this family do. A chunk manifest goes in as the JSON that it is.
//
//	names, err := export.ParseNames(export.DefaultFormat)
//	archive := export.NewTar(file, names)
//	err = archive.Add(&blob, reader) // for each
//	err = archive.Close()
package export

import (
	"time"

	"weed/internal/blob"
)

// Blob is what is known of a blob without its content.
type Blob struct {
	FID       blob.FileID
	Name      string
	Mime      string
	SizeBytes int64 // of the content as stored
	Gzipped   bool  // it is stored compressed
	Modified  int64 // unix seconds, 0 for unknown
	TTL       blob.TTL
	Deleted   bool // nobody can read it any more
	Tombstone bool // it is the record of a deletion
	// Start and Stop are the offsets in bytes between which its record is in the log.
	Start, Stop int64
}

// modified returns the time of the last modification; 1970 if it is not known.
func (b *Blob) modified() time.Time { return time.Unix(b.Modified, 0) }
