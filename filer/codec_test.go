package filer

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"reflect"
	"testing"
	"time"

	"weed/internal/blob"
)

func sampleEntry() *Entry {
	return &Entry{Mtime: time.Unix(1700000000, 5), Crtime: time.Unix(1600000000, 0), Mode: 0o640, UID: 7, GID: 8,
		Mime: "text/plain", Replication: "001", Collection: "c", TTL: blob.TTL{Count: 3, Unit: blob.TTLMinute},
		Expires: 1700000180, MD5: []byte("0123456789abcdef"), Extended: map[string]string{"Seaweed-A": "1", "Seaweed-B": "\xff"},
		Chunks: []Chunk{{FID: blob.FileID{Volume: 3, Key: 1, Cookie: 0x637037d6}, Size: 10, Mtime: 9, ETag: "5b9a4a9c"},
			{FID: blob.FileID{Volume: 1<<32 - 1, Key: 1<<64 - 1, Cookie: 1}, Size: 1 << 40, Mtime: -1}}}
}

// TestCodecGolden pins the bytes of FORMAT.md.
func TestCodecGolden(t *testing.T) {
	const golden = "01" + "8a80d0e2c6bfce972f" + "8080808abbe1abb42c" + "a003" + "07" + "08" + "0a746578742f706c61696e" + "03303031" + "0163" +
		"0301" + "e8c69fd50c"
	text := hex.EncodeToString(sampleEntry().encode())
	if text[:len(golden)] != golden {
		t.Errorf("a value begins with\n%s, want\n%s", text[:len(golden)], golden)
	}
}

func TestCodec(t *testing.T) {
	for _, e := range []*Entry{sampleEntry(), {Mtime: time.Unix(0, 0), Crtime: time.Unix(0, 0), Mode: fs.ModeDir | 0o755}} {
		value := e.encode()
		back, err := decodeEntry(value)
		if err != nil || !reflect.DeepEqual(e, back) {
			t.Errorf("%+v became %+v, %v", e, back, err)
		}
		for n := range value {
			if _, err := decodeEntry(value[:n]); err == nil {
				t.Errorf("the first %d of %d bytes are taken for an entry", n, len(value))
			}
		}
		if _, err := decodeEntry(append(value, 0)); err == nil {
			t.Error("a value with a byte too much is taken for an entry")
		}
	}
}

func TestEntryJSON(t *testing.T) {
	e := sampleEntry()
	text := e.appendJSON(nil, "/a/ü\"<")
	if !json.Valid(text) {
		t.Fatalf("no JSON: %s", text)
	}
	path, back, err := parseEntry(text)
	if err != nil || path != "/a/ü\"<" {
		t.Fatalf("path %q, %v", path, err)
	}
	if string(back.encode()) != string(e.encode()) {
		t.Errorf("%+v became %+v", e, back)
	}
	for _, bad := range []string{
		"", "[]", `{"FullPath":"x"}`, `{"FullPath":"/.weed/x"}`, `{"FullPath":"/x","TtlSec":61}`, `{"FullPath":"/x","FileSize":3}`,
		`{"FullPath":"/x","Md5":"AAAA"}`, `{"FullPath":"/x","FileSize":1,"chunks":[{"file_id":"3,01637037d6","offset":1,"size":1}]}`,
		`{"FullPath":"/x","FileSize":1,"chunks":[{"file_id":"3","size":1}]}`,
		`{"FullPath":"/x","Mode":2147483648,"FileSize":1,"chunks":[{"file_id":"3,01637037d6","size":1}]}`,
	} {
		if _, _, err := parseEntry([]byte(bad)); err == nil {
			t.Errorf("%s is taken for an entry", bad)
		}
	}
}

// FuzzEntry feeds the decoder anything: it refuses, or encoding what it read yields an entry that reads the same.
func FuzzEntry(f *testing.F) {
	f.Add(sampleEntry().encode())
	f.Add([]byte{codecVersion})
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := decodeEntry(value)
		if err != nil {
			return
		}
		again, err := decodeEntry(e.encode())
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}

func TestParsePath(t *testing.T) {
	for text, want := range map[string]string{
		"/": "/", "/a": "/a", "/a/": "/a", "/a/b": "/a/b", "/ä ö/☃": "/ä ö/☃", "/...": "/...", "/.a": "/.a",
		"": "", "a": "", "//": "", "/a//b": "", "/a//": "", "/.": "", "/a/..": "", "/../a": "", "/a/./b": "", "/a\x00": "",
		"/\xff": "",
	} {
		path, dir, err := parsePath(text)
		if string(path) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, %v; want %q", text, path, dir, err, want)
		}
	}
	long := make([]byte, 256)
	for i := range long {
		long[i] = 'x'
	}
	if _, _, err := parsePath("/" + string(long)); err == nil {
		t.Error("a name of 256 bytes is taken")
	}
	if _, _, err := parsePath("/" + string(long[:255])); err != nil {
		t.Error(err)
	}
}
