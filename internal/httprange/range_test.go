package httprange

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const size = 10000
	whole := []Range{{0, size}}
	for _, c := range []struct {
		header string
		want   []Range
	}{
		// RFC 9110 section 14.1.2
		{"bytes=0-499", []Range{{0, 500}}},
		{"bytes=500-999", []Range{{500, 500}}},
		{"bytes=-500", []Range{{9500, 500}}},
		{"bytes=9500-", []Range{{9500, 500}}},
		{"bytes=0-0,-1", []Range{{0, 1}, {9999, 1}}},
		{"bytes= 0-0, -2", []Range{{0, 1}, {9998, 2}}},
		{"bytes= 0-999, 4500-5499, -1000", []Range{{0, 1000}, {4500, 1000}, {9000, 1000}}},
		{"bytes=500-600,601-999", []Range{{500, 500}}},
		{"bytes=500-700,601-999", []Range{{500, 500}}},

		{"BYTES=0-0", []Range{{0, 1}}},
		{"bytes=0-", whole},
		{"bytes=0-9999", whole},
		{"bytes=0-10000", whole},
		{"bytes=9999-", []Range{{9999, 1}}},
		{"bytes=-10000", whole},
		{"bytes=-20000", whole},
		{"bytes=5-99999999999999999999999999", []Range{{5, 9995}}},
		{"bytes=-99999999999999999999999999", whole},
		{"bytes=000-0001", []Range{{0, 2}}},
		{"bytes=,, 1-2 ,\t,", []Range{{1, 2}}},
		{"bytes=10000-,0-0", []Range{{0, 1}}}, // one satisfiable range is enough
		{"bytes=-0,0-0", []Range{{0, 1}}},

		{"bytes=50-59,0-9", []Range{{50, 10}, {0, 10}}}, // the order asked for
		{"bytes=50-59,0-9,55-64", []Range{{50, 15}, {0, 10}}},
		{"bytes=50-59,0-9,80-89,10-49", []Range{{0, 60}, {80, 10}}},
		{"bytes=0-9,20-29,40-49,5-45", []Range{{0, 50}}},
		{"bytes=5-5,5-5,5-5", []Range{{5, 1}}},
		{"bytes=-1,0-", whole},

		// Ignored: absent, unknown unit, malformed.
		{"", nil},
		{"bytes", nil},
		{"bytes=", nil},
		{"bytes= ", nil},
		{"bytes=,", nil},
		{"bytes =0-1", nil},
		{" bytes=0-1", nil},
		{"items=0-1", nil},
		{"bytes=-", nil},
		{"bytes=1", nil},
		{"bytes=a-b", nil},
		{"bytes=1-0", nil},
		{"bytes=99999-0", nil},
		{"bytes=--1", nil},
		{"bytes=1--2", nil},
		{"bytes=+1-2", nil},
		{"bytes=1 -2", nil},
		{"bytes=1- 2", nil},
		{"bytes=0x1-2", nil},
		{"bytes=0-1;2-3", nil},
		{"bytes=0-1,x", nil},
		{"bytes=20000-,x", nil},
		{"bytes=0-1 2-3", nil},
	} {
		got, err := Parse([]byte(c.header), size)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v %v, want %v", c.header, got, err, c.want)
		}
	}
}

func TestParseUnsatisfiable(t *testing.T) {
	for _, c := range []struct {
		header string
		size   int64
	}{
		{"bytes=10-", 10}, {"bytes=10-20", 10}, {"bytes=99999999999999999999-", 10}, {"bytes=-0", 10},
		{"bytes=10-,11-,-0", 10}, {"bytes=0-", 0}, {"bytes=0-0", 0}, {"bytes=-0", 0},
		{"bytes=9223372036854775807-", math.MaxInt64},
	} {
		if got, err := Parse([]byte(c.header), c.size); !errors.Is(err, ErrUnsatisfiable) || got != nil {
			t.Errorf("%q of %d: %v %v", c.header, c.size, got, err)
		}
	}
	// The last bytes of nothing are nothing, which only a 200 can say.
	if got, err := Parse([]byte("bytes=-5,0-"), 0); got != nil || err != nil {
		t.Errorf("suffix of an empty content: %v %v", got, err)
	}
}

func TestParseMany(t *testing.T) {
	list := func(n int) []byte {
		b := []byte("bytes=")
		for i := range n {
			b = strconv.AppendInt(append(b, ','), int64(2*i), 10)
			b = strconv.AppendInt(append(b, '-'), int64(2*i), 10)
		}
		return []byte(strings.Replace(string(b), "=,", "=", 1))
	}
	if got, err := Parse(list(MaxRanges), 1000); err != nil || len(got) != MaxRanges {
		t.Errorf("%d ranges: got %d, %v", MaxRanges, len(got), err)
	}
	if got, err := Parse(list(MaxRanges+1), 1000); err != nil || got != nil {
		t.Errorf("%d ranges: got %d, %v", MaxRanges+1, len(got), err)
	}
	if got, err := Parse([]byte("bytes="+strings.Repeat(",", 1000)+"0-0"), 1000); err != nil || got != nil {
		t.Errorf("a thousand empty elements: got %d, %v", len(got), err)
	}
}

func TestAppendContentRange(t *testing.T) {
	if got := AppendContentRange([]byte("x"), Range{9500, 500}, 10000); string(got) != "xbytes 9500-9999/10000" {
		t.Errorf("%q", got)
	}
	if got := AppendUnsatisfied(nil, 10000); string(got) != "bytes */10000" {
		t.Errorf("%q", got)
	}
}

func FuzzRange(f *testing.F) {
	for _, header := range []string{
		"bytes=0-499", "bytes=-1", "bytes=9-", "bytes=50-59,0-9,80-89,10-49", "bytes=0-9,20-29,40-49,5-45", "Bytes=,,1-2 ,\t",
		"bytes=-99999999999999999999", "bytes=9223372036854775807-9223372036854775807,-0",
	} {
		f.Add([]byte(header), int64(100))
	}
	f.Add([]byte("bytes=-5"), int64(0))
	f.Add([]byte("bytes=9223372036854775806-,0-9223372036854775805"), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		size = max(size, 0)
		ranges, err := Parse(header, size)
		if err != nil && (ranges != nil || !errors.Is(err, ErrUnsatisfiable)) {
			t.Fatal(ranges, err)
		}
		if len(ranges) > MaxRanges {
			t.Fatalf("%d ranges", len(ranges))
		}
		sum := int64(0)
		for i, r := range ranges {
			if r.Start < 0 || r.Length < 1 || r.Start > size-r.Length {
				t.Fatalf("%v is not within %d bytes", r, size)
			}
			for _, other := range ranges[:i] {
				if r.Start <= other.end() && other.Start <= r.end() {
					t.Fatalf("%v and %v meet", other, r)
				}
			}
			sum += r.Length
		}
		if sum > size {
			t.Fatalf("%d bytes of %d", sum, size)
		}
		if size <= 1<<10 && err == nil && len(ranges) > 0 {
			checkBytes(t, header, size, ranges)
		}
	})
}

// checkBytes holds the bytes covered against those asked for, element by element with the standard library.
func checkBytes(t *testing.T, header []byte, size int64, ranges []Range) {
	asked, covered := make([]bool, size), make([]bool, size)
	for spec := range strings.SplitSeq(string(header[len("bytes="):]), ",") {
		spec = strings.Trim(spec, " \t")
		first, last, ok := strings.Cut(spec, "-")
		if !ok {
			continue // an empty element
		}
		from, to := int64(0), size-1
		if first == "" {
			if n, err := strconv.ParseUint(last, 10, 63); err == nil {
				from = max(0, size-int64(n))
			}
		} else {
			if n, err := strconv.ParseUint(first, 10, 63); err == nil {
				from = int64(n)
			} else {
				from = size
			}
			if n, err := strconv.ParseUint(last, 10, 63); err == nil {
				to = min(to, int64(n))
			}
		}
		for i := from; i <= to; i++ {
			asked[i] = true
		}
	}
	for _, r := range ranges {
		for i := r.Start; i < r.end(); i++ {
			covered[i] = true
		}
	}
	if !slices.Equal(asked, covered) {
		t.Fatalf("%q of %d bytes gives %v", header, size, ranges)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, header := range []string{"", "bytes=0-499", "bytes=0-999, 4500-5499, -1000"} {
		b.Run(header, func(b *testing.B) {
			in := []byte(header)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(in, 10000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
