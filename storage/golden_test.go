package storage

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
)

var update = flag.Bool("update", false, "write the golden volumes of testdata anew")

// goldenVolume is a volume in testdata: how it is drawn, and what is to be read from it.
type goldenVolume struct {
	name string
	draw func(dat, idx *drawing) (vif string)
	want []goldenNeedle
}

// goldenNeedle is what Get returns; Data nil stands for not found.
type goldenNeedle struct {
	key    blob.Key
	cookie blob.Cookie
	want   Needle
}

const exampleNs = 0x18ea64383ba661a9

// goldenVolumes are all of volume 7 in the default collection.
var goldenVolumes = []goldenVolume{
	{"example", drawExample, []goldenNeedle{{0x23, 0xd4598eed, Needle{}}}},
	{"v3", drawV3, []goldenNeedle{
		{1, 0x11, Needle{Data: []byte("plain"), AppendAtNs: goldenNs(1)}},
		{2, 0x22, Needle{Data: []byte("second"), Name: []byte("b.txt"), LastModified: 1700000001, AppendAtNs: goldenNs(4)}},
		{2, 0x23, Needle{}},
		{3, 0x33, Needle{}},
		{0x0123456789abcdef, 0xffffffff, Needle{Data: []byte("\x1f\x8bzip"), Gzipped: true, Mime: []byte("text/css"),
			TTL: blob.TTL{Count: 200, Unit: blob.TTLYear}, Pairs: []byte(`{"Seaweed-A":"b"}`), AppendAtNs: goldenNs(6)}},
		{5, 0x55, Needle{Data: []byte{}, Name: []byte("empty"), AppendAtNs: goldenNs(7)}},
		{6, 0x66, Needle{Data: []byte(`{"chunks":[]}`), Manifest: true, AppendAtNs: goldenNs(8)}},
	}},
	{"v2", drawV2, []goldenNeedle{
		{1, 0xa1, Needle{Data: []byte("old form"), Name: []byte("x"), LastModified: 1400000000}},
		{2, 0xa2, Needle{Data: []byte("new form"), LastModified: 1400000001}},
		{3, 0xa3, Needle{}},
		{4, 0xa4, Needle{Data: []byte{}}},
	}},
	{"v1", drawV1, []goldenNeedle{
		{1, 0xb1, Needle{Data: []byte("first version")}},
		{2, 0xb2, Needle{Data: []byte("its checksum masked")}},
		{3, 0xb3, Needle{}},
	}},
	{"foreign", drawForeign, []goldenNeedle{
		{1, 0xc1, Needle{Data: []byte("one"), AppendAtNs: exampleNs + 1}},
		{2, 0xc2, Needle{Data: []byte("two, again"), AppendAtNs: exampleNs + 4}},
		{3, 0xc3, Needle{}},
		{4, 0xc4, Needle{Data: []byte{}, AppendAtNs: exampleNs + 5}},
		{5, 0xc5, Needle{}},
		{6, 0xc6, Needle{Data: []byte("not in the index"), AppendAtNs: exampleNs + 8}},
	}},
	{"foreign3", drawForeign3, []goldenNeedle{
		{1, 0xd1, Needle{Data: []byte("plain form"), AppendAtNs: goldenNs(1)}},
		{2, 0xd2, Needle{Data: []byte("older form"), Name: []byte("b"), LastModified: 1700000000, AppendAtNs: goldenNs(2)}},
		{3, 0xd3, Needle{}},
		{4, 0xd4, Needle{}},
		{5, 0xd5, Needle{}},
		{6, 0xd6, Needle{Data: []byte("deleted, then put again"), TTL: blob.TTL{Count: 2, Unit: blob.TTLDay}, AppendAtNs: goldenNs(9)}},
		{7, 0xd7, Needle{Data: []byte("\x1f\x8bzip"), Gzipped: true, Mime: []byte("text/html"), Pairs: []byte(`{"Seaweed-K":"v"}`), AppendAtNs: goldenNs(10)}},
	}},
}

func drawExample(dat, idx *drawing) string {
	dat.superblock(3, 0, "\x00\x00", 0, nil)
	n := drawnNeedle{cookie: 0xd4598eed, key: 0x23, data: []byte("ABCDEFG"), name: "s.bin", mime: "application/x-seven",
		mtime: 1700000000, ttl: "\x05\x03", pairs: `{"K":"v"}`, appendAtNs: exampleNs}
	offset, size := dat.needle(3, "a blob with all attributes", n)
	idx.entry(0x23, offset, int32(size), "put")
	offset, _ = dat.needle(3, "tombstone", drawnNeedle{cookie: n.cookie, key: n.key, bare: true, crc: 0x2c775665, appendAtNs: 0x18ea64383d07b2c8})
	idx.entry(0x23, offset, -1, "delete")
	return ""
}

// goldenNs is the time of the i-th commit in the volume v3, each of one needle: one per second.
func goldenNs(i int64) uint64 { return uint64((1700000000+i)*1e9)&^batchMask | batchNumber(0) }

func drawV3(dat, idx *drawing) string {
	dat.superblock(3, 12, "\x03\x03", 0, nil)
	i := int64(0)
	needle := func(title string, n drawnNeedle) {
		i++
		n.appendAtNs = goldenNs(i)
		offset, size := dat.needle(3, title, n)
		entrySize := int32(size)
		if n.bare {
			entrySize = -1
		}
		idx.entry(n.key, offset, entrySize, title)
	}
	needle("no attributes", drawnNeedle{cookie: 0x11, key: 1, data: []byte("plain")})
	needle("to be overwritten", drawnNeedle{cookie: 0x22, key: 2, data: []byte("first"), name: "a.txt"})
	needle("to be deleted", drawnNeedle{cookie: 0x33, key: 3, data: []byte("gone")})
	needle("overwrites key 2", drawnNeedle{cookie: 0x22, key: 2, data: []byte("second"), name: "b.txt", mtime: 1700000001})
	needle("tombstone of key 3", drawnNeedle{cookie: 0x33, key: 3, bare: true, crc: Checksum([]byte("gone"))})
	needle("highest cookie, long key, compressed", drawnNeedle{cookie: 0xffffffff, key: 0x0123456789abcdef, data: []byte("\x1f\x8bzip"),
		flags: 0x01, mime: "text/css", ttl: "\xc8\x06", pairs: `{"Seaweed-A":"b"}`})
	needle("empty blob: a body without data", drawnNeedle{cookie: 0x55, key: 5, name: "empty"})
	needle("chunk manifest", drawnNeedle{cookie: 0x66, key: 6, data: []byte(`{"chunks":[]}`), flags: 0x80})
	return ""
}

func drawV2(dat, idx *drawing) string {
	dat.superblock(2, 1, "\x00\x00", 3, []byte("whatever"))
	o1, s1 := dat.needle(2, "checksum in its older form", drawnNeedle{cookie: 0xa1, key: 1, data: []byte("old form"), name: "x", mtime: 1400000000, masked: true})
	o2, s2 := dat.needle(2, "to be deleted", drawnNeedle{cookie: 0xa3, key: 3, data: []byte("gone")})
	o3, s3 := dat.needle(2, "plain checksum", drawnNeedle{cookie: 0xa2, key: 2, data: []byte("new form"), mtime: 1400000001})
	o4, _ := dat.needle(2, "empty blob as others write it", drawnNeedle{cookie: 0xa4, key: 4, bare: true})
	dat.needle(2, "tombstone of key 3", drawnNeedle{cookie: 0xa3, key: 3, bare: true})
	idx.entry(1, o1, int32(s1), "put")
	idx.entry(3, o2, int32(s2), "put")
	idx.entry(2, o3, int32(s3), "put")
	idx.entry(4, o4, 0, "put of an empty blob: live")
	idx.entry(3, 0, 0, "delete, first generation")
	return ""
}

func drawV1(dat, idx *drawing) string {
	dat.superblock(1, 0, "\x00\x00", 0, nil)
	o1, s1 := dat.needle(1, "data alone", drawnNeedle{cookie: 0xb1, key: 1, data: []byte("first version")})
	o2, s2 := dat.needle(1, "checksum in its older form", drawnNeedle{cookie: 0xb2, key: 2, data: []byte("its checksum masked"), masked: true})
	o3, s3 := dat.needle(1, "to be deleted", drawnNeedle{cookie: 0xb3, key: 3, data: []byte("gone")})
	o4, _ := dat.needle(1, "tombstone of key 3", drawnNeedle{cookie: 0xb3, key: 3, bare: true})
	idx.entry(1, o1, int32(s1), "put")
	idx.entry(2, o2, int32(s2), "put")
	idx.entry(3, o3, int32(s3), "put")
	idx.entry(3, o4, -1, "delete, third generation")
	return ""
}

func drawForeign(dat, idx *drawing) string {
	dat.superblock(3, 0, "\x00\x00", 0, nil)
	ns := uint64(exampleNs)
	needle := func(title string, n drawnNeedle) (uint32, int32) {
		ns++
		n.appendAtNs = ns
		offset, size := dat.needle(3, title, n)
		return offset, int32(size)
	}
	o1, s1 := needle("live", drawnNeedle{cookie: 0xc1, key: 1, data: []byte("one")})
	o2, s2 := needle("to be overwritten", drawnNeedle{cookie: 0xc2, key: 2, data: []byte("two")})
	o3, s3 := needle("to be deleted", drawnNeedle{cookie: 0xc3, key: 3, data: []byte("three")})
	o4, s4 := needle("overwrites key 2", drawnNeedle{cookie: 0xc2, key: 2, data: []byte("two, again")})
	o5, _ := needle("empty blob as others write it", drawnNeedle{cookie: 0xc4, key: 4, bare: true})
	needle("tombstone of key 3", drawnNeedle{cookie: 0xc3, key: 3, bare: true})
	o7, _ := needle("tombstone of a key that was vacuumed away", drawnNeedle{cookie: 0xc5, key: 5, bare: true})
	needle("written just before a crash", drawnNeedle{cookie: 0xc6, key: 6, data: []byte("not in the index")})
	idx.entry(4, o5, 0, "put of an empty blob: live")
	idx.entry(3, o3, s3, "put")
	idx.entry(1, o1, s1, "put")
	idx.entry(2, o2, s2, "put")
	idx.entry(2, o4, s4, "put")
	idx.entry(3, 0, -1, "delete, second generation")
	idx.entry(5, o7, -1, "delete")
	return `{"files":[],"version":3,"replication":"000","readOnly":true}`
}

// drawForeign3 is a volume of version 3 with an extra part behind the superblock, both forms of checksums, all three forms
// of deletion in the index file, whose first entries are in no order, and a .vif as newer programs write it.
func drawForeign3(dat, idx *drawing) string {
	dat.superblock(3, 10, "\x05\x04", 7, []byte("\x0a\x0eany extra part"))
	i := int64(0)
	needle := func(title string, n drawnNeedle) (uint32, int32) {
		i++
		n.appendAtNs = goldenNs(i)
		offset, size := dat.needle(3, title, n)
		return offset, int32(size)
	}
	o1, s1 := needle("plain checksum", drawnNeedle{cookie: 0xd1, key: 1, data: []byte("plain form")})
	o2, s2 := needle("checksum in its older form", drawnNeedle{cookie: 0xd2, key: 2, data: []byte("older form"), name: "b", mtime: 1700000000, masked: true})
	o3, s3 := needle("deleted below", drawnNeedle{cookie: 0xd3, key: 3, data: []byte("three")})
	o4, s4 := needle("deleted below", drawnNeedle{cookie: 0xd4, key: 4, data: []byte("four"), masked: true})
	o5, s5 := needle("deleted below", drawnNeedle{cookie: 0xd5, key: 5, data: []byte("five")})
	o6, s6 := needle("deleted, and put again", drawnNeedle{cookie: 0xd6, key: 6, data: []byte("six")})
	needle("tombstone of key 3", drawnNeedle{cookie: 0xd3, key: 3, bare: true})
	o8, _ := needle("tombstone of key 5", drawnNeedle{cookie: 0xd5, key: 5, bare: true})
	o9, s9 := needle("puts key 6 again", drawnNeedle{cookie: 0xd6, key: 6, data: []byte("deleted, then put again"), ttl: "\x02\x03"})
	o10, s10 := needle("compressed, with pairs", drawnNeedle{cookie: 0xd7, key: 7, data: []byte("\x1f\x8bzip"), flags: 0x01, mime: "text/html", pairs: `{"Seaweed-K":"v"}`})
	idx.entry(2, o2, s2, "put")
	idx.entry(1, o1, s1, "put")
	idx.entry(5, o5, s5, "put")
	idx.entry(3, o3, s3, "put")
	idx.entry(4, o4, s4, "put")
	idx.entry(6, o6, s6, "put")
	idx.entry(3, 0, 0, "delete, first generation")
	idx.entry(4, 0, -1, "delete, second generation, without a tombstone in the log")
	idx.entry(6, 0, 0, "delete, first generation")
	idx.entry(5, o8, -1, "delete, third generation")
	idx.entry(6, o9, s9, "put")
	idx.entry(7, o10, s10, "put")
	return "{\n  \"files\": [],\n  \"version\": 3,\n  \"replication\": \"010\",\n  \"bytesOffset\": 4,\n  \"datFileSize\": \"0\",\n  \"readOnly\": false\n}\n"
}

func (g goldenVolume) files() map[string][]byte {
	var dat, idx drawing
	vif := g.draw(&dat, &idx)
	files := map[string][]byte{
		"7.dat": dat.data, "7.idx": idx.data,
		"7.txt": []byte("7.dat: offset, bytes, meaning\n" + dat.text.String() + "\n7.idx: key, offset/8, size\n\n" + idx.text.String()),
	}
	if vif != "" {
		files["7.vif"] = []byte(vif)
	}
	return files
}

// load puts the volume from testdata on a disk.
func (g goldenVolume) load(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	for name := range g.files() {
		content, err := os.ReadFile(filepath.Join("testdata", g.name, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".txt") {
			writeTestFile(t, disk, testDir+"/"+name, content)
		}
	}
	return disk
}

func (g goldenVolume) check(t *testing.T, v *Volume) {
	t.Helper()
	for _, want := range g.want {
		got, _, err := v.Get(want.key, want.cookie, nil)
		if want.want.Data == nil {
			if err == nil {
				t.Errorf("key %d cookie %x is found", want.key, want.cookie)
			}
			continue
		}
		want.want.Key, want.want.Cookie, want.want.Checksum = want.key, want.cookie, Checksum(want.want.Data)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want.want) {
			t.Errorf("key %d: %v\n got %+v\nwant %+v", want.key, err, got, want.want)
		}
		b, err := v.Open(want.key, want.cookie)
		if err != nil || b.DataSize() != int64(len(want.want.Data)) || b.Checksum != want.want.Checksum {
			t.Errorf("key %d: Open: %v, %+v", want.key, err, b)
		}
	}
}

// goldenConfig lets no TTL in the golden volumes expire.
func goldenConfig() Config { return Config{Now: newFakeClock().Now} }

// TestGoldenBytes holds the drawings against the frozen files. With -update it writes them.
func TestGoldenBytes(t *testing.T) {
	for _, g := range goldenVolumes {
		for name, content := range g.files() {
			full := filepath.Join("testdata", g.name, name)
			if *update {
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, content, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			frozen, err := os.ReadFile(full)
			if err != nil || !bytes.Equal(frozen, content) {
				t.Errorf("%s differs from its drawing at byte %d: %v", full, commonPrefix(frozen, content), err)
			}
		}
	}
}

// TestExample holds the encoder against the example that the format's documentation gives, in hex.
func TestExample(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(`
0300000000000000 d4598eed 0000000000000023 00000038
00000007 41424344454647 3e 05 732e62696e 13 6170706c69636174696f6e2f782d736576656e
006553f100 0503 0009 7b224b223a2276227d
2c775665 18ea64383ba661a9 00000000
d4598eed 0000000000000023 00000000 2c775665 18ea64383d07b2c8 00000000`), ""))
	if err != nil {
		t.Fatal(err)
	}
	n := Needle{Key: 0x23, Cookie: 0xd4598eed, Data: []byte("ABCDEFG"), Name: []byte("s.bin"), Mime: []byte("application/x-seven"),
		LastModified: 1700000000, TTL: blob.TTL{Count: 5, Unit: blob.TTLDay}, Pairs: []byte(`{"K":"v"}`)}
	n.Checksum = Checksum(n.Data)
	got := Superblock{Version: 3}.AppendBinary(nil)
	var put, tombstone record
	if err := put.encodePut(Version3, &n); err != nil {
		t.Fatal(err)
	}
	put.stamp(exampleNs)
	tombstone.encodeDelete(Version3, &n, n.Checksum)
	tombstone.stamp(0x18ea64383d07b2c8)
	at := len(got)
	got = put.appendTo(got)
	idx := idxEntry{key: n.Key, offset: uint32(at / 8), size: int32(put.size)}.appendTo(nil)
	at = len(got)
	got = tombstone.appendTo(got)
	idx = idxEntry{key: n.Key, offset: uint32(at / 8), size: tombstoneSize}.appendTo(idx)
	if !bytes.Equal(got, want) {
		t.Errorf("encoded\n%x, want\n%x", got, want)
	}
	if hex.EncodeToString(idx) != "0000000000000023"+"00000001"+"00000038"+"0000000000000023"+"0000000c"+"ffffffff" {
		t.Errorf("index %x", idx)
	}
	files := goldenVolumes[0].files()
	if !bytes.Equal(files["7.dat"], want) || !bytes.Equal(files["7.idx"], idx) {
		t.Error("the drawing differs from the example")
	}
}

// TestWriteGolden lets the engine write the volume v3, byte for byte.
func TestWriteGolden(t *testing.T) {
	disk, clock := vfs.NewMem(), newFakeClock()
	s := openTestStore(t, disk, Config{Now: clock.Now})
	ttl, err := blob.ParseTTL("3d")
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Create(7, "", blob.PlacementFromByte(12), ttl)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Needle{
		{Key: 1, Cookie: 0x11, Data: []byte("plain")},
		{Key: 2, Cookie: 0x22, Data: []byte("first"), Name: []byte("a.txt")},
		{Key: 3, Cookie: 0x33, Data: []byte("gone")},
		{Key: 2, Cookie: 0x22, Data: []byte("second"), Name: []byte("b.txt"), LastModified: 1700000001},
		nil,
		{Key: 0x0123456789abcdef, Cookie: 0xffffffff, Data: []byte("\x1f\x8bzip"), Gzipped: true, Mime: []byte("text/css"),
			TTL: blob.TTL{Count: 200, Unit: blob.TTLYear}, Pairs: []byte(`{"Seaweed-A":"b"}`)},
		{Key: 5, Cookie: 0x55, Name: []byte("empty")},
		{Key: 6, Cookie: 0x66, Data: []byte(`{"chunks":[]}`), Manifest: true},
	} {
		clock.advance(time.Second)
		if n == nil {
			if size, err := v.Delete(3, 0x33); size != 4 || err != nil {
				t.Fatal(size, err)
			}
		} else if err := v.Put(n); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	for name, want := range goldenVolumes[1].files() {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		if got := readTestFile(t, disk, testDir+"/"+name); !bytes.Equal(got, want) {
			t.Errorf("%s differs at byte %d of %d, want %d", name, commonPrefix(got, want), len(got), len(want))
		}
	}
}

// TestReadGolden opens every frozen volume, twice, with and without its index file.
func TestReadGolden(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			disk := g.load(t)
			before := readTestFile(t, disk, testBase+".dat")
			for range 2 {
				s, v := openTestVolume(t, disk, goldenConfig())
				g.check(t, v)
				if got := v.Status(); got.Version != Version(before[0]) || got.SizeBytes != int64(len(before)) || got.ReadOnly&CauseDamaged != 0 {
					t.Errorf("%+v", got)
				}
				if readOnly := v.Status().ReadOnly&CauseOperator != 0; readOnly != (g.name == "foreign") {
					t.Errorf("marked read-only: %v", readOnly)
				}
				closeStore(t, s)
			}
			if !bytes.Equal(readTestFile(t, disk, testBase+".dat"), before) {
				t.Error(".dat was changed")
			}
			_, err := disk.Stat(testBase + ".vif")
			if _, wanted := g.files()["7.vif"]; (err == nil) != wanted || err != nil && !os.IsNotExist(err) {
				t.Errorf(".vif: %v", err)
			}
		})
	}
}

// TestAppendToForeign writes into volumes of others. What they were stays, also after a crash.
func TestAppendToForeign(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			disk := g.load(t)
			before := readTestFile(t, disk, testBase+".dat")
			s, v := openTestVolume(t, disk, goldenConfig())
			if err := v.SetReadOnly(CauseOperator, false); err != nil {
				t.Fatal(err)
			}
			n := Needle{Key: 0x99, Cookie: testCookie, Data: payload(9, 3000), Name: []byte("new"), Mime: []byte("a/b"), LastModified: 1700000000}
			if err := v.Put(&n); g.name == "v1" {
				if _, ok := v.index().Get(0x99); err == nil || ok {
					t.Fatalf("a version 1 volume took a put: %v", err)
				}
				if _, err := v.Delete(1, 0xb1); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			check := func(v *Volume) {
				t.Helper()
				if g.name == "v1" {
					if _, _, err := v.Get(1, 0xb1, nil); err == nil {
						t.Error("a deleted needle is found")
					}
					return
				}
				g.check(t, v)
				got, _, err := v.Get(0x99, testCookie, nil)
				if err != nil || !bytes.Equal(got.Data, n.Data) || string(got.Name) != "new" || got.LastModified != n.LastModified {
					t.Errorf("the new needle: %v %+v", err, got)
				}
				if (got.AppendAtNs != 0) != (before[0] == 3) {
					t.Errorf("append time %d in a volume of version %d", got.AppendAtNs, before[0])
				}
			}
			check(v)
			crashed := disk.Image(vfs.LoseUnsynced, nil)
			closeStore(t, s)
			for _, disk := range []*vfs.Mem{disk, crashed} {
				for range 2 {
					s, v := openTestVolume(t, disk, goldenConfig())
					check(v)
					if v.superblock.Version != Version(before[0]) {
						t.Errorf("version %d, want %d", v.superblock.Version, before[0])
					}
					closeStore(t, s)
				}
				if dat := readTestFile(t, disk, testBase+".dat"); !bytes.HasPrefix(dat, before) {
					t.Error("old bytes were changed")
				}
			}
		})
	}
}
