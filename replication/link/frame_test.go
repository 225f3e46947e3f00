package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"

	"weed/internal/blob"
	"weed/replication"
)

// bytesSource is a log that is all there is, whatever the volume and the offset.
type bytesSource []byte

func (s bytesSource) ReadLog(_ blob.VolumeID, _ int64, p []byte, _ *replication.Origin) (int, error) {
	return copy(p, s), nil
}

// fill sets everything that can be reached from v to something that is not zero.
func fill(t *testing.T, r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, r, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, r, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(40), 40))
		for i := range v.Len() {
			fill(t, r, v.Index(i))
		}
	case reflect.String:
		b := make([]byte, 1+r.IntN(30))
		for i := range b {
			b[i] = byte('!' + r.IntN(90))
		}
		v.SetString(string(b))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + r.Uint64()>>(1+r.IntN(60))&(1<<v.Type().Bits()-2))
	case reflect.Int:
		v.SetInt(1 + r.Int64N(1<<31-1))
	case reflect.Int64:
		v.SetInt(r.Int64() - 1<<62)
	default:
		t.Fatalf("no value of %v is known", v.Type())
	}
}

// wantRound encodes a frame, with the bytes that its append has, and decodes it.
func wantRound(t *testing.T, f Frame) []byte {
	t.Helper()
	want := f
	b, err := appendFrame(make([]byte, 0, f.bound()), &f, bytesSource(f.Message.Bytes))
	if err != nil {
		t.Fatalf("encode %+v: %v", f, err)
	}
	if len(b) > f.bound() {
		t.Fatalf("%d bytes, bound %d", len(b), f.bound())
	}
	if size, err := frameSize(b); size != len(b) || err != nil {
		t.Fatalf("size %d, %v; want %d", size, err, len(b))
	}
	var got Frame
	if err := decodeFrame(b, &got); err != nil {
		t.Fatalf("decode %+v: %v", f, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	return b
}

// TestRound fills every field that the messages have: a new one that the format leaves out fails here.
func TestRound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var f Frame
		fill(t, r, reflect.ValueOf(&f.Volume).Elem())
		fill(t, r, reflect.ValueOf(&f.Message).Elem())
		f.Message.Kind = replication.MsgAppend
		f.Message.Size = int64(len(f.Message.Bytes))
		wantRound(t, f)
		f.Message.Kind, f.Message.Bytes, f.Message.Size = replication.MsgAlign, nil, 0
		wantRound(t, f)
		f.Message.Config, f.Message.History, f.Message.Origin = nil, nil, nil
		wantRound(t, f)

		var l Frame
		fill(t, r, reflect.ValueOf(&l.Lease).Elem())
		wantRound(t, l)
		l.Lease.Claims, l.Lease.Granted = nil, false
		wantRound(t, l)
		l.Lease.Except, l.Lease.Listed = nil, false
		wantRound(t, l)
	}
	wantRound(t, Frame{Message: replication.Message{Kind: 1, Config: &replication.Config{}}})
}

func TestAppendAliasesTheFrame(t *testing.T) {
	f := appendOf(7, 8, 100)
	f.Message.Bytes = bytes.Repeat([]byte{1}, 100)
	b := wantRound(t, f)
	var got Frame
	if err := decodeFrame(b, &got); err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] = 9
	if got.Message.Bytes[99] != 9 || cap(got.Message.Bytes) != 100 {
		t.Fatal("the bytes of the append are a copy, or reach beyond it")
	}
}

func TestEncodeRefuses(t *testing.T) {
	for what, f := range map[string]Frame{
		"no kind":         {},
		"no lease kind":   {Lease: &replication.LeaseMessage{}},
		"an ack of bytes": {Message: replication.Message{Kind: replication.MsgAck, Size: 1}},
		"size below zero": appendOf(1, 8, -1),
		"too large":       appendOf(1, 8, MaxFrame-10),
		"far too large":   appendOf(1, 8, 1<<60),
		"copies":          {Message: replication.Message{Kind: replication.MsgConfig, Config: &replication.Config{Copies: -1}}},
		"many claims":     {Lease: &replication.LeaseMessage{Kind: 1, Except: make([]blob.VolumeID, MaxFrame)}},
	} {
		if _, err := appendFrame(make([]byte, 0, f.bound()), &f, bytesSource(make([]byte, MaxFrame))); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f := appendOf(1, 8, 100)
	if _, err := appendFrame(make([]byte, 0, f.bound()), &f, bytesSource("short")); !errors.Is(err, errUnread) {
		t.Errorf("short log: %v", err)
	}
}

// sealed puts a body into a frame.
func sealed(body ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 4), uint32(len(body)))
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestDecodeRefuses(t *testing.T) {
	fields := make([]byte, messageBytes-4)
	lease := make([]byte, leaseBytes-4)
	for what, body := range map[string][]byte{
		"tag":                {3, 1, 0, 0},
		"no more than a tag": {1},
		"no kind":            join([]byte{1, 0, 0, 0}, fields),
		"unknown part":       join([]byte{1, 1, 4, 0}, fields),
		"reserved":           join([]byte{1, 1, 0, 1}, fields),
		"short":              join([]byte{1, 1, 0, 0}, fields[1:]),
		"long":               join([]byte{1, 1, 0, 0}, fields, []byte{0}),
		"config cut off":     join([]byte{1, 1, 1, 0}, fields, []byte{1, 2, 3, 'a', 'b'}),
		"too many members":   join([]byte{1, 1, 1, 0}, fields, []byte{1, 2, 1, 'a', 200, 1, 1, 'a'}),
		"too many copies":    join([]byte{1, 1, 1, 0}, fields, []byte{1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0}),
		"empty history":      join([]byte{1, 1, 2, 0}, fields, []byte{0}),
		"history cut off":    join([]byte{1, 1, 2, 0}, fields, []byte{2, 1, 1, 1}),
		"long varint":        join([]byte{1, 1, 2, 0}, fields, []byte{0x81, 0, 1, 1}),
		"overflow":           join([]byte{1, 1, 2, 0}, fields, []byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1}),
		"lease without kind": join([]byte{2, 0, 0, 0}, lease, []byte{0, 0}),
		"lease short":        join([]byte{2, 1, 0, 0}, lease[1:]),
		"lease unknown part": join([]byte{2, 1, 8, 0}, lease, []byte{0, 0}),
		"too many claims":    join([]byte{2, 1, 0, 0}, lease, []byte{2, 1, 1, 0}),
		"no exceptions":      join([]byte{2, 1, 0, 0}, lease, []byte{0}),
		"volume":             join([]byte{2, 1, 0, 0}, lease, []byte{0, 1, 0x80, 0x80, 0x80, 0x80, 0x10}),
		"lease long":         join([]byte{2, 1, 0, 0}, lease, []byte{0, 0, 0}),
	} {
		var f Frame
		if err := decodeFrame(sealed(body...), &f); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for size, want := range map[uint32]int{0: -1, 1: 9, MaxFrame - 8: MaxFrame, MaxFrame - 7: -1, 1<<32 - 1: -1} {
		n, err := frameSize(binary.LittleEndian.AppendUint32(make([]byte, 4), size))
		if want < 0 && !errors.Is(err, ErrFrame) || want >= 0 && (n != want || err != nil) {
			t.Errorf("size %d: %d, %v; want %d", size, n, err, want)
		}
	}
}

// TestEveryBitCounts flips each bit of a frame.
func TestEveryBitCounts(t *testing.T) {
	f := appendOf(7, 8, 20)
	f.Message.Bytes = make([]byte, 20)
	b := wantRound(t, f)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		size, err := frameSize(b)
		if err == nil && size == len(b) {
			var got Frame
			err = decodeFrame(b, &got)
			if err == nil {
				t.Errorf("bit %d of byte %d may be anything", i%8, i/8)
			}
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func FuzzDecode(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3 {
		var m, l Frame
		fill(new(testing.T), r, reflect.ValueOf(&m.Message).Elem())
		fill(new(testing.T), r, reflect.ValueOf(&l.Lease).Elem())
		m.Message.Kind = replication.MsgAppend
		m.Message.Size = int64(len(m.Message.Bytes))
		for _, frame := range []Frame{m, l, ackOf(7, 8)} {
			b, err := appendFrame(make([]byte, 0, frame.bound()), &frame, bytesSource(m.Message.Bytes))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b[headBytes:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return
		}
		b := sealed(body...)
		if size, err := frameSize(b); err != nil || size != len(b) {
			return
		}
		var frame Frame
		if decodeFrame(b, &frame) != nil {
			return
		}
		again, err := appendFrame(make([]byte, 0, frame.bound()), &frame, bytesSource(frame.Message.Bytes))
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x\nbecame\n%x, %v", b, again, err)
		}
	})
}
