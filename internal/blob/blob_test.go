package blob

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const cookie = 0x637037d6

func TestParsePath(t *testing.T) {
	one := FileID{Volume: 3, Key: 1, Cookie: cookie}
	for _, c := range []struct {
		path string
		want Path
	}{
		// The forms of the HTTP API.
		{"/3,01637037d6", Path{FileID: one}},
		{"/3,01637037d6.jpg", Path{FileID: one, Ext: ".jpg"}},
		{"/3/01637037d6", Path{FileID: one}},
		{"/3/01637037d6.jpg", Path{FileID: one, Ext: ".jpg"}},
		{"/3/01637037d6/name.jpg", Path{FileID: one, Name: "name.jpg", Ext: ".jpg"}},
		{"3,01637037d6", Path{FileID: one}},
		{"3/01637037d6/name.jpg", Path{FileID: one, Name: "name.jpg", Ext: ".jpg"}},
		// Hex in either case, any count of digits from 9 to 24.
		{"/3,01637037D6", Path{FileID: one}},
		{"/3,1637037d6", Path{FileID: one}},
		{"/3,000000000000000163" + "7037d6", Path{FileID: one}},
		{"/3,ffffffffffffffffffffffff", Path{FileID: FileID{3, math.MaxUint64, math.MaxUint32}}},
		{"/3,000000000", Path{FileID: FileID{Volume: 3}}},
		{"/4294967295,01637037d6", Path{FileID: FileID{math.MaxUint32, 1, cookie}}},
		{"/003,01637037d6", Path{FileID: one}},
		// Deltas, before the extension.
		{"/3,01637037d6_0", Path{FileID: one}},
		{"/3,01637037d6_1", Path{FileID: FileID{3, 2, cookie}}},
		{"/3,01637037d6_1.jpg", Path{FileID: FileID{3, 2, cookie}, Ext: ".jpg"}},
		{"/3/01637037d6_254", Path{FileID: FileID{3, 255, cookie}}},
		{"/3/01637037d6_255.jpg", Path{FileID: FileID{3, 256, cookie}, Ext: ".jpg"}},
		{"/3/01637037d6_10/a_b.jpg", Path{FileID: FileID{3, 11, cookie}, Name: "a_b.jpg", Ext: ".jpg"}},
		{"/3,fffffffffffffffe637037d6_1", Path{FileID: FileID{3, math.MaxUint64, cookie}}},
		{"/3,00637037d6_18446744073709551615", Path{FileID: FileID{3, math.MaxUint64, cookie}}},
		// Extensions and names.
		{"/3,01637037d6.tar.gz", Path{FileID: one, Ext: ".gz"}},
		{"/3,01637037d6.", Path{FileID: one, Ext: "."}},
		{"/3,01637037d6.jpg_1", Path{FileID: one, Ext: ".jpg_1"}},
		{"/3/01637037d6.jpg/name.png", Path{FileID: one, Name: "name.png", Ext: ".png"}},
		{"/3/01637037d6.jpg/name", Path{FileID: one, Name: "name"}},
		{"/3/01637037d6.jpg/", Path{FileID: one, Ext: ".jpg"}},
		{"/3/01637037d6/", Path{FileID: one}},
		{"/3/01637037d6/a, b", Path{FileID: one, Name: "a, b"}},
		{"/3/01637037d6/.hidden", Path{FileID: one, Name: ".hidden", Ext: ".hidden"}},
		{"/3/01637037d6/ü.jpg", Path{FileID: one, Name: "ü.jpg", Ext: ".jpg"}},
	} {
		if got, err := ParsePath(c.path); err != nil || got != c.want {
			t.Errorf("ParsePath(%q) = %+v, %v; want %+v", c.path, got, err, c.want)
		}
		if got, err := ParsePath([]byte(c.path)); err != nil || got != c.want {
			t.Errorf("ParsePath([]byte(%q)) = %+v, %v; want %+v", c.path, got, err, c.want)
		}
		alone, slash := strings.CutPrefix(c.path, "/")
		if got, err := ParseFileID(alone); err != nil || got != c.want.FileID {
			t.Errorf("ParseFileID(%q) = %+v, %v; want %+v", alone, got, err, c.want.FileID)
		}
		if _, err := ParseFileID(c.path); slash && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseFileID(%q): error %v", c.path, err)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "/", "//", ",", "/,", "3", "/3", "/3,", "/3/", "/favicon.ico",
		"/,01637037d6", "/0,01637037d6", "/-3,01637037d6", "/+3,01637037d6", "/ 3,01637037d6", "/x,01637037d6",
		"/3 ,01637037d6", "/0x3,01637037d6", "/4294967296,01637037d6", "/18446744073709551619,01637037d6",
		"//3,01637037d6", "//3/01637037d6", "/3//01637037d6", "/3,/01637037d6", "/3/,01637037d6",
		"/3,637037d6", "/3,7037d6", "/3,0000000000000000016370" + "37d", "/3,0000000000000000163" + "7037d6",
		"/3,01637037dg", "/3,0163-037d6", "/3, 01637037d6", "/3,01637037d6 ", "/3,0x01637037d6", "/3,01637037d6\x00",
		"/3,01637037d6_", "/3,01637037d6_-1", "/3,01637037d6_+1", "/3,01637037d6_a", "/3,01637037d6_1_2",
		"/3,01637037d6__1", "/3,01637037d6_1.5_1/x", "/3,_1", "/3,01637037d6_18446744073709551616",
		"/3,01637037d6_18446744073709551615", "/3,ffffffffffffffff637037d6_1",
		"/3,01637037d6/name.jpg", "/3,01637037d6/", "/3/01637037d6/a/b.jpg", "/3/01637037d6/a/", "/3/01637037d6//",
		"/3/.jpg", "/3,.jpg", "/3,0163.7037d6", "/3/0163,7037d6", "/3,3,01637037d6",
	} {
		p, err := ParsePath(path)
		if !errors.Is(err, ErrMalformed) || p != (Path{}) {
			t.Errorf("ParsePath(%q) = %+v, %v; want ErrMalformed", path, p, err)
		}
		if _, err := ParsePath([]byte(path)); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParsePath([]byte(%q)): error %v", path, err)
		}
	}
}

func TestErrorsNameBoundedText(t *testing.T) {
	_, err := ParsePath("/3," + strings.Repeat("x", 1<<20))
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "xxx") || len(err.Error()) > 200 {
		t.Fatalf("the error has %d bytes: %.80s", len(err.Error()), err)
	}
}

func TestFileIDText(t *testing.T) {
	for _, c := range []struct {
		fid  FileID
		want string
	}{
		{FileID{3, 1, cookie}, "3,01637037d6"},
		{FileID{3, 0xff, 0}, "3,ff00000000"},
		{FileID{3, 0x100, 1}, "3,010000000001"},
		{FileID{3, 0x100000000, 1}, "3,010000000000000001"},
		{FileID{1, 0, 0xA}, "1,000000000a"},
		{FileID{math.MaxUint32, math.MaxUint64, math.MaxUint32}, "4294967295,ffffffffffffffffffffffff"},
	} {
		if got := c.fid.String(); got != c.want {
			t.Errorf("%+v is written %q, want %q", c.fid, got, c.want)
		}
		if got := string(c.fid.AppendText([]byte("x="))); got != "x="+c.want {
			t.Errorf("%+v is appended as %q", c.fid, got)
		}
	}
}

func TestFileIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fid := FileID{
			Volume: VolumeID(rapid.Uint32Min(1).Draw(t, "volume")),
			Key:    Key(rapid.Uint64().Draw(t, "key")),
			Cookie: Cookie(rapid.Uint32().Draw(t, "cookie")),
		}
		for _, text := range []string{
			fid.String(), strings.Replace(fid.String(), ",", "/", 1), strings.ToUpper(fid.String()), fid.String() + "_0",
		} {
			if got, err := ParseFileID(text); err != nil || got != fid {
				t.Fatalf("ParseFileID(%q) = %+v, %v; want %+v", text, got, err, fid)
			}
		}
		delta := rapid.Uint64Max(math.MaxUint64-uint64(fid.Key)).Draw(t, "delta")
		later := fid
		later.Key += Key(delta)
		text := fid.String() + "_" + new(big.Int).SetUint64(delta).String()
		if got, err := ParseFileID(text); err != nil || got != later {
			t.Fatalf("ParseFileID(%q) = %+v, %v; want %+v", text, got, err, later)
		}
	})
}

func TestVolumeID(t *testing.T) {
	for text, want := range map[string]VolumeID{
		"1": 1, "42": 42, "007": 7, "4294967295": math.MaxUint32,
		"": 0, "0": 0, "-1": 0, "+1": 0, " 1": 0, "1 ": 0, "1x": 0, "0x1": 0, "1_0": 0, "4294967296": 0,
		"18446744073709551617": 0, "340282366920938463463374607431768211457": 0, "3,01637037d6": 0, "١": 0,
	} {
		got, err := ParseVolumeID(text)
		if got != want || (err != nil) != (want == 0) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseVolumeID(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	path, buf := []byte("/3,01637037d6"), make([]byte, 0, 64)
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"parse", func() {
			if p, err := ParsePath(path); err != nil || p.Key != 1 {
				t.Fatal(p, err)
			}
		}},
		{"append", func() { buf = FileID{3, 1, cookie}.AppendText(buf[:0]) }},
	} {
		if n := testing.AllocsPerRun(100, c.run); n != 0 {
			t.Errorf("%s: %v allocations, want none", c.name, n)
		}
	}
}

// grammar says the same as ParsePath does, in another way: volume, separator, hex, delta, extension, name.
var grammar = regexp.MustCompile(
	`(?s)^/?([0-9]{1,20})(?:,([0-9a-fA-F]{9,24})(?:_([0-9]{1,20}))?(\.[^/]*)?|` +
		`/([0-9a-fA-F]{9,24})(?:_([0-9]{1,20}))?(\.[^/]*)?(?:/([^/]*))?)$`)

// parseByGrammar is the oracle of FuzzParsePath.
func parseByGrammar(path string) (p Path, ok bool) {
	m := grammar.FindStringSubmatch(path)
	if m == nil {
		return Path{}, false
	}
	number := func(text string, base int) *big.Int {
		n := new(big.Int)
		if text != "" {
			n.SetString(text, base)
		}
		return n
	}
	volume, hex := number(m[1], 10), m[2]+m[5]
	key, cookie := number(hex[:len(hex)-8], 16), number(hex[len(hex)-8:], 16)
	key.Add(key, number(m[3]+m[6], 10))
	if volume.Sign() == 0 || volume.BitLen() > 32 || key.BitLen() > 64 {
		return Path{}, false
	}
	p.FileID = FileID{VolumeID(volume.Uint64()), Key(key.Uint64()), Cookie(cookie.Uint64())}
	p.Name = m[8]
	named := m[4] + m[7]
	if p.Name != "" {
		named = p.Name
	}
	if dot := strings.LastIndex(named, "."); dot >= 0 {
		p.Ext = named[dot:]
	}
	return p, true
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/3,01637037d6", "/3,01637037D6_1.jpg", "/3/01637037d6", "/3/01637037d6.jpg", "/3/01637037d6_2/name.tar.gz",
		"3,ffffffffffffffffffffffff_1", "/4294967296,01637037d6", "/3,01637037d6_18446744073709551615", "//3,0", "/3,\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, err := ParsePath(path)
		want, ok := parseByGrammar(path)
		if (err == nil) != ok || p != want {
			t.Fatalf("ParsePath(%q) = %+v, %v; the grammar says %+v, %v", path, p, err, want, ok)
		}
		if q, err2 := ParsePath([]byte(path)); q != p || (err2 == nil) != (err == nil) {
			t.Fatalf("as bytes %+v, %v; as a string %+v, %v", q, err2, p, err)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if again, err := ParsePath(p.String()); err != nil || again.FileID != p.FileID {
			t.Fatalf("%q is written %q and read back as %+v, %v", path, p.String(), again, err)
		}
	})
}

func BenchmarkParsePath(b *testing.B) {
	path := []byte("/3,01637037d6")
	for b.Loop() {
		if _, err := ParsePath(path); err != nil {
			b.Fatal(err)
		}
	}
}
