package imaging

import (
	"bytes"
	"encoding/binary"
)

const (
	orientationTag = 0x0112
	shortType      = 3 // a TIFF field of two bytes
)

// exifOrientation returns the orientation that an APP1 segment of a JPEG tells, and 0 when it tells none.
func exifOrientation(segment []byte) uint8 {
	tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00"))
	if !ok || len(tiff) < 8 {
		return 0
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 0
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			return 0
		}
		if order.Uint16(entries) == orientationTag {
			value := order.Uint16(entries[8:])
			if order.Uint16(entries[2:]) != shortType || value < 1 || value > 8 {
				return 0
			}
			return uint8(value)
		}
		entries = entries[12:]
	}
	return 0
}
