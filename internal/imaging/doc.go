// Package imaging makes smaller and upright versions of JPEG, PNG and GIF pictures.
//
// Inspect reads no more than the header of a picture. From that a Plan says what the result will measure and
// how much memory the work takes, before any pixel is decoded; the caller decides whether it can afford that.
// The same bytes and the same plan make the same result, byte for byte.
package imaging

import "errors"

// ErrNotPicture is for content that is no picture of a known format, or a damaged one.
var ErrNotPicture = errors.New("not a picture that can be decoded")

// Format is a picture's file format.
type Format uint8

// The formats that are read and written.
const (
	JPEG Format = iota + 1
	PNG
	GIF
)

// Mime is the format's media type.
func (f Format) Mime() string {
	switch f {
	case JPEG:
		return "image/jpeg"
	case PNG:
		return "image/png"
	case GIF:
		return "image/gif"
	}
	return "application/octet-stream"
}

// Info is what a picture's header says.
type Info struct {
	Format        Format
	Width, Height int   // pixels as they are stored; of a GIF those of the whole screen
	Orientation   uint8 // 1 to 8 as in EXIF; 1 is upright

	decodedBytes int64 // memory for the decoded picture
}
