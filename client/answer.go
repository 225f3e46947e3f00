package client

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// decodeUpload decodes what a volume server answers to an upload. encoding/json takes as long for it as all else that
// the client does with the answer, so the form that servers of this project send is read by hand.
func decodeUpload(body []byte, res *UploadResult) error {
	if !parseUpload(body, res) {
		*res = UploadResult{}
		return decode(body, res)
	}
	return nil
}

// parseUpload reads {"name":"…","size":1,"eTag":"…","mime":"…"}, the last of which may be missing, where no string has
// an escape in it. ok is false for anything else, and res is worth nothing then.
func parseUpload(b []byte, res *UploadResult) (ok bool) {
	text := func(name string) (value string) {
		b, ok = bytes.CutPrefix(b, []byte(name))
		if !ok {
			return ""
		}
		end := bytes.IndexByte(b, '"')
		if ok = end >= 0 && isPlain(b[:end]); !ok {
			return ""
		}
		value = string(b[:end])
		b = b[end+1:]
		return value
	}
	if res.Name = text(`{"name":"`); !ok {
		return false
	}
	if b, ok = bytes.CutPrefix(b, []byte(`,"size":`)); !ok {
		return false
	}
	digits := bytes.IndexByte(b, ',')
	if digits < 1 || digits > 18 || b[0] == '0' && digits > 1 || b[0] < '0' || b[0] > '9' {
		return false
	}
	size, err := strconv.ParseInt(string(b[:digits]), 10, 64)
	if err != nil {
		return false
	}
	res.Size, b = size, b[digits:]
	if res.ETag = text(`,"eTag":"`); !ok {
		return false
	}
	if len(b) > 1 {
		if res.Mime = text(`,"mime":"`); !ok {
			return false
		}
	}
	return string(b) == "}"
}

// isPlain reports whether the inside of a JSON string stands for itself.
func isPlain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
