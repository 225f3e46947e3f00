package export

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"weed/internal/blob"
)

func testBlob(key blob.Key, name, mime string) *Blob {
	return &Blob{FID: blob.FileID{Volume: 3, Key: key, Cookie: 0x637037d6}, Name: name, Mime: mime, SizeBytes: 5, Modified: 1700000000}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for _, c := range []struct {
		format string
		blob   *Blob
		want   string
	}{
		{DefaultFormat, testBlob(26, "a.txt", "text/plain"), "text/plain/26_a.txt"},
		{DefaultFormat, testBlob(1, "", ""), "1_"},
		{DefaultFormat, testBlob(1, "../../etc/passwd", "../.."), "__/__/1_.._.._etc_passwd"},
		{DefaultFormat, testBlob(1, "a\\b\nc\x00d\xff", "/abs"), "abs/1_a_b_c_d_"},
		{"{{.Name}}", testBlob(1, "/etc/passwd", ""), "_etc_passwd"},
		{"{{.Name}}", testBlob(1, "..", ""), "__"},
		{"{{.Name}}", testBlob(1, ".", ""), "3,01637037d6"},
		{"{{.Name}}", testBlob(1, "", ""), "3,01637037d6"},
		{"{{.Key}}{{.Ext}}", testBlob(255, "a.tar.xz", ""), "3,ff637037d6.xz"},
		{"{{.Name}}", testBlob(1, long+".jpeg", ""), strings.Repeat("ä", 125) + ".jpeg"},
		{`{{printf "%03d" .Id}}`, testBlob(7, "a", ""), "007"},
	} {
		n, err := ParseNames(c.format)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := n.Of(c.blob); got != c.want || err != nil {
			t.Errorf("%s of %+v: %q, %v, want %q", c.format, c.blob, got, err, c.want)
		}
	}
	gz := testBlob(1, "a.txt", "")
	gz.Gzipped = true
	n, _ := ParseNames("{{.Name}}")
	first, _ := n.Of(gz)
	gz.Name = "b.gz"
	second, _ := n.Of(gz)
	if first != "a.txt.gz" || second != "b.gz" {
		t.Errorf("compressed: %q, %q", first, second)
	}
	for _, bad := range []string{"{{", "{{.Nome}}", "{{.Id.X}}"} {
		if _, err := ParseNames(bad); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestNamesDiffer(t *testing.T) {
	for _, format := range []string{"x", "{{.Name}}", DefaultFormat, "{{.Mime}}/{{.Id}}_{{len .Name}}"} {
		n, err := ParseNames(format)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for i := range 3 {
			for j, name := range []string{"a", "../a", strings.Repeat("n", 255), "3,01637037d6_a", "x"} {
				got, err := n.Of(testBlob(blob.Key(5*i+j+1), name, ""))
				if err != nil {
					t.Fatal(err)
				}
				if seen[got] {
					t.Errorf("%s: %q twice", format, got)
				}
				seen[got] = true
			}
		}
	}
}

// FuzzNames holds that whatever a blob is called, its name in an archive stays where it belongs.
func FuzzNames(f *testing.F) {
	f.Add("{{.Mime}}/{{.Id}}_{{.Name}}", "../../a", "..", uint64(1))
	f.Add("{{.Name}}{{.Ext}}", "/", "a/b", uint64(1<<63))
	f.Fuzz(func(t *testing.T, format, name, mime string, key uint64) {
		if len(format) > 100 || strings.Contains(format, "printf") { // widths as large as memory
			return
		}
		n, err := ParseNames(format)
		if err != nil {
			return
		}
		for range 2 {
			got, err := n.Of(testBlob(blob.Key(key), name, mime))
			if err != nil {
				return
			}
			if got == "" || got[0] == '/' || path.Clean(got) != got || !utf8.ValidString(got) || strings.ContainsAny(got, "\\\x00\n") {
				t.Errorf("%q", got)
			}
			for element := range strings.SplitSeq(got, "/") {
				if element == ".." || len(element) > maxElementBytes {
					t.Errorf("%q", got)
				}
			}
		}
	})
}

func TestTar(t *testing.T) {
	var out bytes.Buffer
	names, err := ParseNames("{{.Name}}")
	if err != nil {
		t.Fatal(err)
	}
	archive := NewTar(&out, names)
	for _, name := range []string{"a", "a", strings.Repeat("long", 60)} {
		if err := archive.Add(testBlob(1, name, ""), strings.NewReader("12345")); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(bytes.NewReader(out.Bytes()))
	for _, want := range []string{"a", "3,01637037d6_a", strings.Repeat("long", 60)} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || h.Name != want || string(content) != "12345" || !h.ModTime.Equal(time.Unix(1700000000, 0)) || h.Mode != 0o644 {
			t.Errorf("%+v %q %v", h, content, err)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	for _, content := range []string{"1234", "123456"} {
		if err := NewTar(io.Discard, names).Add(testBlob(1, "b", ""), strings.NewReader(content)); err == nil {
			t.Errorf("%q passes for 5 bytes", content)
		}
	}
}

func TestList(t *testing.T) {
	var out bytes.Buffer
	l, err := NewList(&out)
	if err != nil {
		t.Fatal(err)
	}
	b := testBlob(1, "a\tb", "text/plain")
	b.TTL, b.Start, b.Stop = blob.TTL{Count: 3, Unit: blob.TTLDay}, 8, 64
	gone := testBlob(2, "", "")
	gone.Deleted, gone.Tombstone, gone.Modified, gone.SizeBytes = true, true, 0, 0
	if err := errors.Join(l.Add(b), l.Add(gone), l.Close()); err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1700000000, 0).Format(TimeFormat)
	want := "key\tname\tsize\tgzip\tmime\tmodified\tttl\tdeleted\tstart\tstop\n" +
		"3,01637037d6\ta_b\t5\tfalse\ttext/plain\t" + at + "\t3d\tfalse\t8\t64\n" +
		"3,02637037d6\t*tombstone\t0\tfalse\t\t\t\ttrue\t0\t0\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out.String(), want)
	}
	for _, text := range []string{at, time.Unix(1700000000, 0).Format(time.RFC3339)} {
		if got, err := ParseTime(text); got != 1700000000 || err != nil {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	if _, err := ParseTime("yesterday"); err == nil {
		t.Error("yesterday is a time")
	}
}
