package imaging

import (
	"image"
	"image/draw"
)

// bandRows is how many rows are converted to RGBA at a time.
const bandRows = 16

// shrink scales a part of a picture down to size. Each pixel of the result is the mean of the area that it
// covers, exact and in whole numbers; that takes two rows of memory, where the kernels of x/image/draw hold
// 32 bytes for each row of the source and column of the result.
func shrink(src image.Image, crop image.Rectangle, size image.Point) *image.RGBA {
	dst := image.NewRGBA(image.Rectangle{Max: size})
	width, height := crop.Dx(), crop.Dy()
	band := image.NewRGBA(image.Rect(0, 0, width, bandRows))
	row := make([]uint64, 4*size.X) // one source row, scaled horizontally; each value is a sum of weight width
	sum := make([]uint64, 4*size.X) // of the result's row so far
	area := uint64(width) * uint64(height)
	out, room := 0, height // the result's row that is being summed, and the weight that it still takes
	for y := range height {
		if y%bandRows == 0 {
			draw.Draw(band, band.Bounds(), src, crop.Min.Add(image.Pt(0, y)), draw.Src)
		}
		shrinkRow(row, band.Pix[y%bandRows*band.Stride:][:4*width], width, size.X)
		// In units of 1/height of the result's row a source row has the weight size.Y.
		weight := size.Y
		if weight >= room {
			addRow(sum, row, uint64(room))
			flush(dst.Pix[out*dst.Stride:][:4*size.X], sum, area)
			weight -= room
			out, room = out+1, height
		}
		if weight > 0 {
			addRow(sum, row, uint64(weight))
			room -= weight
		}
	}
	return dst
}

// shrinkRow adds the pixels of src up to size columns; all of a column have the weight width together.
func shrinkRow(dst []uint64, src []byte, width, size int) {
	clear(dst)
	column, room := 0, width
	for x := range width {
		pixel := src[4*x : 4*x+4 : 4*x+4]
		weight := size
		if weight >= room {
			addPixel(dst[4*column:], pixel, uint64(room))
			weight -= room
			column, room = column+1, width
		}
		if weight > 0 {
			addPixel(dst[4*column:], pixel, uint64(weight))
			room -= weight
		}
	}
}

func addPixel(dst []uint64, pixel []byte, weight uint64) {
	_, _ = dst[3], pixel[3]
	dst[0] += weight * uint64(pixel[0])
	dst[1] += weight * uint64(pixel[1])
	dst[2] += weight * uint64(pixel[2])
	dst[3] += weight * uint64(pixel[3])
}

func addRow(sum, row []uint64, weight uint64) {
	for i, v := range row {
		sum[i] += weight * v
	}
}

// flush writes the means and begins anew.
func flush(dst []byte, sum []uint64, area uint64) {
	for i, v := range sum {
		dst[i] = byte((v + area/2) / area)
	}
	clear(sum)
}

// turn returns the picture as one should look at it.
func turn(src *image.RGBA, orientation uint8) *image.RGBA {
	if orientation <= 1 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	size := image.Pt(w, h)
	if orientation >= 5 {
		size = image.Pt(h, w)
	}
	dst := image.NewRGBA(image.Rectangle{Max: size})
	for y := range h {
		for x := range w {
			var to image.Point
			switch orientation {
			case 2:
				to = image.Pt(w-1-x, y)
			case 3:
				to = image.Pt(w-1-x, h-1-y)
			case 4:
				to = image.Pt(x, h-1-y)
			case 5:
				to = image.Pt(y, x)
			case 6:
				to = image.Pt(h-1-y, x)
			case 7:
				to = image.Pt(h-1-y, w-1-x)
			case 8:
				to = image.Pt(y, w-1-x)
			}
			copy(dst.Pix[dst.PixOffset(to.X, to.Y):][:4], src.Pix[src.PixOffset(x, y):][:4])
		}
	}
	return dst
}
