package imaging

import "image"

// Request is what a picture should measure at most, in pixels as one looks at it. A zero width or height
// follows from the other one.
type Request struct {
	Width, Height int
	Fill          bool // cover the whole of width and height and cut off what sticks out, around the middle
}

// Plan is what is to be made of a picture.
type Plan struct {
	info Info
	crop image.Rectangle // what is taken, in pixels as stored
	size image.Point     // what it is scaled to, before it is turned
}

// Plan says what a request makes of the picture. ok is false when the picture is small enough as it is:
// nothing is ever enlarged.
func (i Info) Plan(q Request) (p Plan, ok bool) {
	width, height := q.Width, q.Height
	if i.Orientation >= 5 {
		width, height = height, width
	}
	whole := image.Pt(i.Width, i.Height)
	if width <= 0 {
		width = whole.X
		q.Fill = false
	}
	if height <= 0 {
		height = whole.Y
		q.Fill = false
	}
	p = Plan{info: i, size: whole}
	if q.Fill {
		p.size, p.crop = fill(whole, image.Pt(min(width, whole.X), min(height, whole.Y)), image.Pt(width, height))
	} else {
		p.size, p.crop = fit(whole, image.Pt(width, height)), image.Rectangle{Max: whole}
	}
	return p, p.size != whole
}

// fit returns the largest size of the whole's proportions inside box, at most the whole.
func fit(whole, box image.Point) image.Point {
	w, h := int64(whole.X), int64(whole.Y)
	bw, bh := int64(min(box.X, whole.X)), int64(min(box.Y, whole.Y))
	if bw*h <= bh*w { // the width binds
		return image.Pt(int(bw), int(max(1, (bw*h+w/2)/w)))
	}
	return image.Pt(int(max(1, (bh*w+h/2)/h)), int(bh))
}

// fill returns the part of the whole that has to be scaled to size: the largest one around the middle. Where
// the whole doesn't reach box in one direction, nothing is scaled, only cut.
func fill(whole, size, box image.Point) (image.Point, image.Rectangle) {
	part := size
	if box.X <= whole.X && box.Y <= whole.Y {
		w, h, bw, bh := int64(whole.X), int64(whole.Y), int64(box.X), int64(box.Y)
		if w*bh <= h*bw {
			part = image.Pt(whole.X, int(max(bh, (w*bh+bw/2)/bw)))
		} else {
			part = image.Pt(int(max(bw, (h*bw+bh/2)/bh)), whole.Y)
		}
	}
	at := image.Pt((whole.X-part.X)/2, (whole.Y-part.Y)/2)
	return size, image.Rectangle{Min: at, Max: at.Add(part)}
}

// Upright is the plan that turns the picture as its orientation says and leaves its size.
func (i Info) Upright() Plan {
	whole := image.Pt(i.Width, i.Height)
	return Plan{info: i, size: whole, crop: image.Rectangle{Max: whole}}
}

// Size returns width and height of the result in pixels.
func (p Plan) Size() (width, height int) {
	if p.info.Orientation >= 5 {
		return p.size.Y, p.size.X
	}
	return p.size.X, p.size.Y
}

// Format is that of the result, and of the picture.
func (p Plan) Format() Format { return p.info.Format }

// CostBytes is the memory that Make takes, all in all and at most.
func (p Plan) CostBytes() int64 {
	const fixed = 2 << 20 // tables and windows of the coders
	out := int64(p.size.X) * int64(p.size.Y)
	const perPixel = 4 + 4 + 2 // scaled, turned, encoded
	const perColumn = 8*4*2 + bandRows*4
	return fixed + p.info.decodedBytes + perPixel*out + perColumn*int64(p.info.Width)
}
