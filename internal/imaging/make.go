package imaging

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
)

// jpegQuality of what is written, on the scale of 1 to 100.
const jpegQuality = 88

// Make carries the plan out on the picture that it was made for. Of an animation the first frame is taken.
// What can't be decoded is ErrNotPicture; an error of r is that, wrapped as well.
func (p Plan) Make(r io.Reader) ([]byte, error) {
	src, palette, err := p.decode(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotPicture, err)
	}
	if src.Bounds() != image.Rect(0, 0, p.info.Width, p.info.Height) {
		return nil, fmt.Errorf("%w: it has other bounds than its header says", ErrNotPicture)
	}
	out := turn(shrink(src, p.crop, p.size), p.info.Orientation)
	var b bytes.Buffer
	switch p.info.Format {
	case JPEG:
		err = jpeg.Encode(&b, out, &jpeg.Options{Quality: jpegQuality})
	case PNG:
		err = png.Encode(&b, out)
	case GIF:
		err = gif.Encode(&b, paletted(out, palette), nil)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", p.info.Format.Mime(), err)
	}
	return b.Bytes(), nil
}

func (p Plan) decode(r io.Reader) (image.Image, color.Palette, error) {
	switch p.info.Format {
	case JPEG:
		src, err := jpeg.Decode(r)
		return src, nil, err
	case PNG:
		src, err := png.Decode(r)
		return src, nil, err
	}
	src, err := gif.Decode(r)
	if err != nil {
		return nil, nil, err
	}
	frame, ok := src.(*image.Paletted)
	if !ok || len(frame.Palette) == 0 {
		return nil, nil, fmt.Errorf("a frame of type %T", src)
	}
	screen := image.Rect(0, 0, p.info.Width, p.info.Height)
	if frame.Rect == screen {
		return frame, frame.Palette, nil
	}
	whole := image.NewRGBA(screen)
	draw.Draw(whole, frame.Rect, frame, frame.Rect.Min, draw.Src)
	return whole, frame.Palette, nil
}

// paletted gives each pixel the palette's nearest colour. What is mostly transparent becomes transparent, for
// which a palette that has room gets an entry.
func paletted(src *image.RGBA, palette color.Palette) *image.Paletted {
	transparent := -1
	for i, c := range palette {
		if _, _, _, a := c.RGBA(); a == 0 {
			transparent = i
			break
		}
	}
	if transparent < 0 && !src.Opaque() && len(palette) < 256 {
		transparent = len(palette)
		palette = append(palette[:transparent:transparent], color.RGBA{})
	}
	dst := image.NewPaletted(src.Rect, palette)
	nearest := newNearest(palette)
	for i := range dst.Pix {
		pixel := src.Pix[4*i : 4*i+4 : 4*i+4]
		if pixel[3] < 128 && transparent >= 0 {
			dst.Pix[i] = uint8(transparent)
			continue
		}
		c := color.NRGBAModel.Convert(color.RGBA{R: pixel[0], G: pixel[1], B: pixel[2], A: pixel[3]}).(color.NRGBA)
		dst.Pix[i] = nearest.index(c.R, c.G, c.B)
	}
	return dst
}

// nearestColors finds colours of a palette by six bits of red, green and blue, each searched for once.
type nearestColors struct {
	palette color.Palette
	found   []uint16 // index plus one; 0 is not known yet
}

func newNearest(palette color.Palette) *nearestColors {
	n := &nearestColors{palette: palette, found: make([]uint16, 1<<18)}
	for i := len(palette) - 1; i >= 0; i-- { // a colour of the palette finds itself
		if r, g, b, a := palette[i].RGBA(); a != 0 {
			n.found[bucket(uint8(r>>8), uint8(g>>8), uint8(b>>8))] = uint16(i + 1)
		}
	}
	return n
}

func bucket(r, g, b uint8) int { return int(r>>2)<<12 | int(g>>2)<<6 | int(b>>2) }

func (n *nearestColors) index(r, g, b uint8) uint8 {
	at := &n.found[bucket(r, g, b)]
	if *at == 0 {
		*at = uint16(n.palette.Index(color.RGBA{R: r&^3 | 2, G: g&^3 | 2, B: b&^3 | 2, A: 255}) + 1)
	}
	return uint8(*at - 1)
}
