package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"testing"
)

// corners is a picture with another colour in each quarter: red and green above blue and white.
func corners(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetRGBA(x, y, quarters[y*2/h][x*2/w])
		}
	}
	return m
}

var (
	red, green  = color.RGBA{R: 255, A: 255}, color.RGBA{G: 255, A: 255}
	blue, white = color.RGBA{B: 255, A: 255}, color.RGBA{R: 255, G: 255, B: 255, A: 255}
	quarters    = [2][2]color.RGBA{{red, green}, {blue, white}}
)

func encode(t testing.TB, format Format, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch format {
	case JPEG:
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 95})
	case PNG:
		err = png.Encode(&b, m)
	case GIF:
		err = gif.Encode(&b, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withOrientation puts an EXIF segment into a JPEG.
func withOrientation(data []byte, order binary.AppendByteOrder, orientation uint16) []byte {
	exif := []byte("Exif\x00\x00II")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		exif = []byte("Exif\x00\x00MM")
	}
	exif = order.AppendUint16(exif, 42)
	exif = order.AppendUint32(exif, 8)
	exif = order.AppendUint16(exif, 2) // entries
	for _, entry := range [][2]uint16{{0x0100, 7}, {orientationTag, orientation}} {
		exif = order.AppendUint16(exif, entry[0])
		exif = order.AppendUint16(exif, shortType)
		exif = order.AppendUint32(exif, 1)
		exif = order.AppendUint16(exif, entry[1])
		exif = order.AppendUint16(exif, 0)
	}
	exif = order.AppendUint32(exif, 0)
	segment := binary.BigEndian.AppendUint16([]byte("\xff\xe1"), uint16(2+len(exif)))
	return bytes.Join([][]byte{data[:2], segment, exif, data[2:]}, nil)
}

func resize(t testing.TB, data []byte, q Request) (image.Image, string) {
	t.Helper()
	info, err := Inspect(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plan, ok := info.Plan(q)
	if !ok {
		t.Fatalf("%+v of %+v is nothing to do", q, info)
	}
	out, err := plan.Make(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	m, format, err := image.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if w, h := plan.Size(); m.Bounds() != image.Rect(0, 0, w, h) {
		t.Fatalf("%v, the plan said %d x %d", m.Bounds(), w, h)
	}
	return m, format
}

// wantCorners compares the middles of the four quarters.
func wantCorners(t *testing.T, m image.Image, want [2][2]color.RGBA) {
	t.Helper()
	b := m.Bounds()
	for y := range 2 {
		for x := range 2 {
			got := color.RGBAModel.Convert(m.At((2*x+1)*b.Dx()/4, (2*y+1)*b.Dy()/4)).(color.RGBA)
			w := want[y][x]
			if far(got.R, w.R) || far(got.G, w.G) || far(got.B, w.B) || got.A != 255 {
				t.Errorf("quarter %d,%d: %v, want %v", x, y, got, w)
			}
		}
	}
}

func far(a, b uint8) bool { return max(a, b)-min(a, b) > 12 }

func TestFormats(t *testing.T) {
	for _, format := range []Format{JPEG, PNG, GIF} {
		m, name := resize(t, encode(t, format, corners(160, 80)), Request{Width: 40})
		if "image/"+name != format.Mime() || m.Bounds().Dx() != 40 || m.Bounds().Dy() != 20 {
			t.Errorf("%s: %s %v", format.Mime(), name, m.Bounds())
		}
		wantCorners(t, m, quarters)
	}
}

func TestOrientations(t *testing.T) {
	upright := map[uint16][2][2]color.RGBA{
		1: quarters,
		2: {{green, red}, {white, blue}},
		3: {{white, blue}, {green, red}},
		4: {{blue, white}, {red, green}},
		5: {{red, blue}, {green, white}},
		6: {{blue, red}, {white, green}},
		7: {{white, green}, {blue, red}},
		8: {{green, white}, {red, blue}},
	}
	plain := encode(t, JPEG, corners(160, 80))
	for orientation, want := range upright {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprintf("%d %v", orientation, order), func(t *testing.T) {
				data := withOrientation(plain, order, orientation)
				m, _ := resize(t, data, Request{Width: 40})
				height := 20
				if orientation >= 5 {
					height = 80
				}
				if m.Bounds() != image.Rect(0, 0, 40, height) {
					t.Errorf("%v, want 40 x %d", m.Bounds(), height)
				}
				wantCorners(t, m, want)

				info, err := Inspect(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				out, err := info.Upright().Make(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				if m, err = jpeg.Decode(bytes.NewReader(out)); err != nil {
					t.Fatal(err)
				}
				wantCorners(t, m, want)
				if again, err := Inspect(bytes.NewReader(out)); err != nil || again.Orientation != 1 {
					t.Errorf("the upright picture has %+v, %v", again, err)
				}
			})
		}
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		w, h int
		q    Request
		want image.Point // zero for nothing to do
		crop image.Rectangle
	}{
		{100, 50, Request{}, image.Point{}, image.Rectangle{}},
		{100, 50, Request{Width: 100, Height: 50}, image.Point{}, image.Rectangle{}},
		{100, 50, Request{Width: 1000, Height: 900, Fill: true}, image.Point{}, image.Rectangle{}},
		{100, 50, Request{Width: 50}, image.Pt(50, 25), image.Rect(0, 0, 100, 50)},
		{100, 50, Request{Height: 10, Fill: true}, image.Pt(20, 10), image.Rect(0, 0, 100, 50)},
		{100, 50, Request{Width: 50, Height: 50}, image.Pt(50, 25), image.Rect(0, 0, 100, 50)},
		{100, 50, Request{Width: 1 << 30, Height: 10}, image.Pt(20, 10), image.Rect(0, 0, 100, 50)},
		{100, 50, Request{Width: 20, Height: 20, Fill: true}, image.Pt(20, 20), image.Rect(25, 0, 75, 50)},
		{50, 100, Request{Width: 20, Height: 20, Fill: true}, image.Pt(20, 20), image.Rect(0, 25, 50, 75)},
		{100, 50, Request{Width: 60, Height: 80, Fill: true}, image.Pt(60, 50), image.Rect(20, 0, 80, 50)},
		{1000, 1, Request{Width: 10}, image.Pt(10, 1), image.Rect(0, 0, 1000, 1)},
	} {
		p, ok := Info{Width: c.w, Height: c.h, Orientation: 1}.Plan(c.q)
		if ok != (c.want != image.Point{}) || ok && (p.size != c.want || p.crop != c.crop) {
			t.Errorf("%d x %d, %+v: %v of %v, %v; want %v of %v", c.w, c.h, c.q, p.size, p.crop, ok, c.want, c.crop)
		}
	}
}

func TestShrinkIsTheMean(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 3, 3))
	for i := range 9 {
		m.SetRGBA(i%3, i/3, color.RGBA{R: uint8(10 * i), A: 255})
	}
	out := shrink(m, m.Rect, image.Pt(2, 1))
	// The left half is columns 0 and half of 1: means 30 and 40, with weights 2 and 1.
	if l, r := out.RGBAAt(0, 0), out.RGBAAt(1, 0); l != (color.RGBA{R: 33, A: 255}) || r != (color.RGBA{R: 47, A: 255}) {
		t.Errorf("%v %v", l, r)
	}
	if out := shrink(m, m.Rect, image.Pt(3, 3)); !bytes.Equal(out.Pix, m.Pix) {
		t.Error("the same size makes other pixels")
	}
}

func TestAnimationBecomesItsFirstFrame(t *testing.T) {
	palette := color.Palette{red, blue, color.RGBA{}}
	frame := image.NewPaletted(image.Rect(20, 0, 40, 20), palette)
	second := image.NewPaletted(image.Rect(0, 0, 40, 20), palette)
	for i := range second.Pix {
		second.Pix[i] = 1
	}
	var b bytes.Buffer
	err := gif.EncodeAll(&b, &gif.GIF{
		Image: []*image.Paletted{frame, second}, Delay: []int{1, 1}, Config: image.Config{Width: 40, Height: 20},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, _ := resize(t, b.Bytes(), Request{Width: 20})
	if got := color.RGBAModel.Convert(m.At(15, 5)); got != red {
		t.Errorf("in the frame: %v", got)
	}
	if _, _, _, a := m.At(5, 5).RGBA(); a != 0 {
		t.Errorf("beside the frame: %v", m.At(5, 5))
	}
}

func TestTransparency(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 20, 20))
	for i := range 200 {
		m.Set(i%20, i/20, red)
	}
	out, _ := resize(t, encode(t, PNG, m), Request{Width: 10})
	if got := color.RGBAModel.Convert(out.At(5, 2)); got != red {
		t.Errorf("above: %v", got)
	}
	if _, _, _, a := out.At(5, 8).RGBA(); a != 0 {
		t.Errorf("below: %v", out.At(5, 8))
	}
}

// TestBombs: what a header claims is known before anything is decoded.
func TestBombs(t *testing.T) {
	pngBomb := encode(t, PNG, corners(8, 8))
	binary.BigEndian.PutUint32(pngBomb[16:], 60000)
	binary.BigEndian.PutUint32(pngBomb[20:], 60000)
	gifBomb := encode(t, GIF, corners(8, 8))
	copy(gifBomb[6:], "\xff\xff\xff\xff")
	jpegBomb := encode(t, JPEG, corners(8, 8))
	at := bytes.Index(jpegBomb, []byte("\xff\xc0"))
	copy(jpegBomb[at+5:], "\xff\xff\xff\xff")
	for _, data := range [][]byte{pngBomb, gifBomb, jpegBomb} {
		info, err := Inspect(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		plan, ok := info.Plan(Request{Width: 10})
		if !ok || plan.CostBytes() < 3e9 {
			t.Errorf("%+v costs %d bytes", info, plan.CostBytes())
		}
	}
}

func TestTruncated(t *testing.T) {
	for _, format := range []Format{JPEG, PNG, GIF} {
		data := encode(t, format, corners(64, 64))
		for n := range len(data) - 20 {
			info, err := Inspect(bytes.NewReader(data[:n]))
			if err != nil {
				if !errors.Is(err, ErrNotPicture) {
					t.Fatalf("%s cut at %d: %v", format.Mime(), n, err)
				}
				continue
			}
			plan, _ := info.Plan(Request{Width: 10})
			if _, err := plan.Make(bytes.NewReader(data[:n])); !errors.Is(err, ErrNotPicture) {
				t.Fatalf("%s cut at %d: %v", format.Mime(), n, err)
			}
		}
	}
}

func FuzzOrientation(f *testing.F) {
	f.Add([]byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"))
	f.Add([]byte("Exif\x00\x00MM\x00*\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, segment []byte) {
		if o := exifOrientation(segment); o > 8 {
			t.Errorf("orientation %d", o)
		}
	})
}

func FuzzResize(f *testing.F) {
	for _, format := range []Format{JPEG, PNG, GIF} {
		f.Add(encode(f, format, corners(16, 8)), uint16(7), uint16(3), true)
	}
	f.Add(withOrientation(encode(f, JPEG, corners(16, 8)), binary.BigEndian, 6), uint16(5), uint16(0), false)
	f.Fuzz(func(t *testing.T, data []byte, width, height uint16, fill bool) {
		info, err := Inspect(bytes.NewReader(data))
		if err != nil {
			return
		}
		plan, ok := info.Plan(Request{Width: int(width), Height: int(height), Fill: fill})
		if !ok || plan.CostBytes() > 16<<20 {
			return
		}
		out, err := plan.Make(bytes.NewReader(data))
		if err != nil {
			return
		}
		w, h := plan.Size()
		again, err := Inspect(bytes.NewReader(out))
		if err != nil || again.Width != w || again.Height != h || again.Format != info.Format {
			t.Errorf("%+v, %v instead of %d x %d", again, err, w, h)
		}
	})
}

func BenchmarkResize(b *testing.B) {
	data := encode(b, JPEG, corners(4000, 3000))
	for b.Loop() {
		resize(b, data, Request{Width: 400})
	}
}
