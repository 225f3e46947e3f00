package blob

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPlacement(t *testing.T) {
	for text, want := range map[string]Placement{
		"": {}, "0": {}, "000": {}, "1": {Servers: 1}, "001": {Servers: 1}, "01": {Servers: 1},
		"010": {Racks: 1}, "10": {Racks: 1}, "100": {DataCenters: 1}, "112": {1, 1, 2}, "255": {2, 5, 5},
	} {
		got, err := ParsePlacement(text)
		if err != nil || got != want {
			t.Errorf("ParsePlacement(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"256", "999", "0000", "-1", "+1", "1 ", " 1", "1x", "x", "0x1", "1.0"} {
		if p, err := ParsePlacement(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParsePlacement(%q) = %v, %v; want ErrMalformed", text, p, err)
		}
	}
	if got := (Placement{1, 2, 3}).Copies(); got != 7 {
		t.Errorf("123 has %d copies, want 7", got)
	}
}

func TestPlacementRoundTrip(t *testing.T) {
	for b := range 256 {
		p := PlacementFromByte(byte(b))
		if p.Byte() != byte(b) || p.String() != fmt.Sprintf("%03d", b) {
			t.Errorf("byte %d becomes %v and %d", b, p, p.Byte())
		}
		if q, err := ParsePlacement(p.String()); err != nil || q != p {
			t.Errorf("%v is read back as %v, %v", p, q, err)
		}
	}
}

func TestTTL(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]struct {
		ttl    TTL
		length time.Duration
		text   string
	}{
		"":     {},
		"0":    {},
		"0d":   {},
		"3m":   {TTL{3, TTLMinute}, 3 * time.Minute, "3m"},
		"90":   {TTL{90, TTLMinute}, 90 * time.Minute, "90m"},
		"4h":   {TTL{4, TTLHour}, 4 * time.Hour, "4h"},
		"5d":   {TTL{5, TTLDay}, 5 * day, "5d"},
		"6w":   {TTL{6, TTLWeek}, 42 * day, "6w"},
		"7M":   {TTL{7, TTLMonth}, 210 * day, "7M"},
		"8y":   {TTL{8, TTLYear}, 8 * 365 * day, "8y"},
		"255y": {TTL{255, TTLYear}, 255 * 365 * day, "255y"},
		"007d": {TTL{7, TTLDay}, 7 * day, "7d"},
	} {
		got, err := ParseTTL(text)
		if err != nil || got != want.ttl || got.Duration() != want.length || got.String() != want.text {
			t.Errorf("ParseTTL(%q) = %v, %v, %v; want %v, %v", text, got, got.Duration(), err, want.ttl, want.length)
		}
		if got.IsZero() != (want.length == 0) {
			t.Errorf("%q: IsZero is %v", text, got.IsZero())
		}
	}
	for _, text := range []string{
		"m", "256", "256m", "-1d", "+1d", "1 d", " 1d", "1d ", "1D", "1H", "1Y", "1s", "1dd", "1.5h", "d1", "1\xff", "1µ",
		"18446744073709551617m",
	} {
		if ttl, err := ParseTTL(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseTTL(%q) = %v, %v; want ErrMalformed", text, ttl, err)
		}
	}
}

// TestTTLBytes goes through all stored forms: those that mean nothing are none, the others come back.
func TestTTLBytes(t *testing.T) {
	for count := range 256 {
		for unit := range 256 {
			ttl := TTLFromBytes(byte(count), byte(unit))
			known := count > 0 && 1 <= unit && unit <= 6
			if ttl.IsZero() == known || (ttl.Duration() > 0) != known {
				t.Fatalf("(%d, %d) is %v", count, unit, ttl)
			}
			if !known {
				if ttl != (TTL{}) {
					t.Fatalf("(%d, %d) is %+v, not the zero TTL", count, unit, ttl)
				}
				continue
			}
			if c, u := ttl.Bytes(); int(c) != count || int(u) != unit {
				t.Fatalf("(%d, %d) is stored as (%d, %d)", count, unit, c, u)
			}
			if again, err := ParseTTL(ttl.String()); err != nil || again != ttl {
				t.Fatalf("%v is read back as %v, %v", ttl, again, err)
			}
		}
	}
	odd := TTL{Count: 3, Unit: 99} // no parser makes it
	if !odd.IsZero() || odd.Duration() != 0 || odd.String() != "" {
		t.Fatal("a TTL of an unknown unit is not none")
	}
}

func FuzzParseTTL(f *testing.F) {
	for _, seed := range []string{"", "0", "90", "3m", "4h", "5d", "6w", "7M", "8y", "256m", "m", "-1d", "1\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ttl, err := ParseTTL(text)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || ttl != (TTL{}) {
				t.Fatalf("ParseTTL(%q) = %v, %v", text, ttl, err)
			}
			return
		}
		if again, err := ParseTTL(ttl.String()); err != nil || again != ttl {
			t.Fatalf("%q is written %q and read back as %v, %v", text, ttl.String(), again, err)
		}
		if (ttl.Duration() == 0) != ttl.IsZero() || ttl.Duration() < 0 {
			t.Fatalf("%q lasts %v", text, ttl.Duration())
		}
	})
}

func TestCheckCollection(t *testing.T) {
	for _, name := range []string{"", "a", "A-b_c.9", "_", "-x", "a..b", strings.Repeat("x", 128)} {
		if err := CheckCollection(name); err != nil {
			t.Errorf("CheckCollection(%q) = %v", name, err)
		}
	}
	for _, name := range []string{
		".", "..", ".a", "a/b", "/", `a\b`, "a b", "a\x00", "a,b", "ü", "a\n", "*", strings.Repeat("x", 129),
	} {
		if err := CheckCollection(name); !errors.Is(err, ErrMalformed) {
			t.Errorf("CheckCollection(%q) = %v, want ErrMalformed", name, err)
		}
	}
}

func TestVolumeFileNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		collection := rapid.StringMatching(`([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?`).Draw(t, "collection")
		id := VolumeID(rapid.Uint32Min(1).Draw(t, "id"))
		base := VolumeFileName(collection, id)
		gotCollection, gotID, err := ParseVolumeFileName(base)
		if err != nil || gotCollection != collection || gotID != id {
			t.Fatalf("%q is read back as %q, %d, %v", base, gotCollection, gotID, err)
		}
	})
}

func TestParseVolumeFileName(t *testing.T) {
	for base, want := range map[string]struct {
		collection string
		id         VolumeID
	}{
		"3": {"", 3}, "pics_3": {"pics", 3}, "a_b_3": {"a_b", 3}, "1_2": {"1", 2}, "__3": {"_", 3},
	} {
		collection, id, err := ParseVolumeFileName(base)
		if err != nil || collection != want.collection || id != want.id {
			t.Errorf("ParseVolumeFileName(%q) = %q, %d, %v", base, collection, id, err)
		}
	}
	for _, base := range []string{"", "_", "x", "_3", "03", "pics_03", "pics_0", "pics_", "pics_-3", "a/b_3", ".._3", "3.dat"} {
		collection, id, err := ParseVolumeFileName(base)
		if !errors.Is(err, ErrMalformed) || collection != "" || id != 0 {
			t.Errorf("ParseVolumeFileName(%q) = %q, %d, %v; want ErrMalformed", base, collection, id, err)
		}
	}
}

func FuzzParseVolumeFileName(f *testing.F) {
	for _, seed := range []string{"3", "pics_3", "a_b_3", "_3", "03", "pics_03", ".._3", "x_\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, base string) {
		collection, id, err := ParseVolumeFileName(base)
		if err == nil && VolumeFileName(collection, id) != base {
			t.Fatalf("%q is read as %q and %d", base, collection, id)
		}
		if strings.ContainsAny(collection, "/\x00") {
			t.Fatalf("%q leads out of the directory", collection)
		}
	})
}
