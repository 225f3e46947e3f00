package filer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"weed/filer/store"
	"weed/internal/blob"
	"weed/internal/httpx"
)

// appendJSON appends the entry at a path as JSON: one object on one line.
func (e *Entry) appendJSON(b []byte, path store.Path) []byte {
	b = append(b, `{"FullPath":`...)
	b = httpx.AppendString(b, string(path))
	b = append(b, `,"Mtime":"`...)
	b = e.Mtime.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","Crtime":"`...)
	b = e.Crtime.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","Mode":`...)
	b = strconv.AppendUint(b, uint64(e.Mode), 10)
	b = append(b, `,"Uid":`...)
	b = strconv.AppendUint(b, uint64(e.UID), 10)
	b = append(b, `,"Gid":`...)
	b = strconv.AppendUint(b, uint64(e.GID), 10)
	b = append(b, `,"Mime":`...)
	b = httpx.AppendString(b, e.Mime)
	b = append(b, `,"Replication":`...)
	b = httpx.AppendString(b, e.Replication)
	b = append(b, `,"Collection":`...)
	b = httpx.AppendString(b, e.Collection)
	b = append(b, `,"TtlSec":`...)
	b = strconv.AppendInt(b, e.ttlSeconds(), 10)
	if e.Expires != 0 {
		b = append(b, `,"Expires":`...)
		b = strconv.AppendInt(b, e.Expires, 10)
	}
	b = append(b, `,"Md5":`...)
	b = appendBase64(b, e.MD5)
	b = append(b, `,"FileSize":`...)
	b = strconv.AppendInt(b, e.Size(), 10)
	b = append(b, `,"Extended":`...)
	if e.Extended == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '{')
		for i, k := range slices.Sorted(maps.Keys(e.Extended)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(httpx.AppendString(b, k), ':')
			b = appendBase64(b, []byte(e.Extended[k]))
		}
		b = append(b, '}')
	}
	b = append(b, `,"chunks":[`...)
	var offset int64
	for i := range e.Chunks {
		c := &e.Chunks[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"file_id":"`...)
		b = c.FID.AppendText(b)
		b = append(b, `","offset":`...)
		b = strconv.AppendInt(b, offset, 10)
		b = append(b, `,"size":`...)
		b = strconv.AppendInt(b, c.Size, 10)
		b = append(b, `,"mtime":`...)
		b = strconv.AppendInt(b, c.Mtime, 10)
		b = append(b, `,"e_tag":`...)
		b = append(httpx.AppendString(b, c.ETag), '}')
		offset += c.Size
	}
	return append(b, "]}"...)
}

// appendBase64 appends bytes as encoding/json writes them: null for none.
func appendBase64(b, data []byte) []byte {
	if data == nil {
		return append(b, "null"...)
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

// entryJSON is an entry as it is read from JSON.
type entryJSON struct {
	FullPath      string
	Mtime, Crtime time.Time
	Mode          uint32
	UID           uint32 `json:"Uid"`
	GID           uint32 `json:"Gid"`
	Mime          string
	Replication   string
	Collection    string
	TTLSec        int64 `json:"TtlSec"`
	Expires       int64
	MD5           []byte `json:"Md5"`
	FileSize      int64
	Extended      map[string][]byte
	Chunks        []struct {
		FID    string `json:"file_id"`
		Offset int64  `json:"offset"`
		Size   int64  `json:"size"`
		Mtime  int64  `json:"mtime"`
		ETag   string `json:"e_tag"`
	} `json:"chunks"`
}

const maxMimeBytes = 255 // as package upload bounds it

// parseEntry reads what appendJSON writes, and refuses what makes no sense.
func parseEntry(text []byte) (store.Path, *Entry, error) {
	var j entryJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return "", nil, fmt.Errorf("%w: no entry in JSON: %w", errBody, err)
	}
	path, _, err := parsePath(j.FullPath)
	if err == nil && isReserved(path) {
		err = errReserved
	}
	if err != nil {
		return "", nil, err
	}
	e := &Entry{Mtime: j.Mtime, Crtime: j.Crtime, Mode: fs.FileMode(j.Mode), UID: j.UID, GID: j.GID, Mime: j.Mime,
		Replication: j.Replication, Collection: j.Collection, Expires: j.Expires, MD5: j.MD5}
	if e.TTL, err = ttlOf(j.TTLSec); err != nil {
		return "", nil, err
	}
	if len(j.Extended) > 0 {
		e.Extended = make(map[string]string, len(j.Extended))
		for k, v := range j.Extended {
			e.Extended[k] = string(v)
		}
	}
	if err = checkTags(e.Extended); err != nil {
		return "", nil, err
	}
	if len(e.Mime) > maxMimeBytes || len(e.Replication) > 3 {
		return "", nil, fmt.Errorf("%w: %s: a Mime has at most %d bytes, a Replication 3", errBody, path, maxMimeBytes)
	}
	if err = blob.CheckCollection(e.Collection); err != nil {
		return "", nil, err
	}
	if len(e.MD5) != 0 && len(e.MD5) != 16 || e.IsDir() && len(j.Chunks) > 0 {
		return "", nil, fmt.Errorf("%w: %s: an Md5 has 16 bytes, and a directory no chunks", errBody, path)
	}
	var offset int64
	for _, c := range j.Chunks {
		fid, err := blob.ParseFileID(c.FID)
		if err != nil {
			return "", nil, err
		}
		if c.Offset != offset || c.Size <= 0 || c.Size > math.MaxInt64-offset {
			return "", nil, fmt.Errorf("%w: %s: chunk %s does not begin where the one before ends", errBody, path, c.FID)
		}
		offset += c.Size
		e.Chunks = append(e.Chunks, Chunk{FID: fid, Size: c.Size, Mtime: c.Mtime, ETag: c.ETag})
	}
	if offset != j.FileSize {
		return "", nil, fmt.Errorf("%w: %s: FileSize is %d, its chunks have %d bytes", errBody, path, j.FileSize, offset)
	}
	if len(e.encode()) > store.MaxValueBytes {
		return "", nil, errTooManyParts
	}
	return path, e, tooLarge(e)
}
