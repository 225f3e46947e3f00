package vfs

import "io"

const pageSize = 4096

// page is one piece of a file's bytes. A frozen page is shared between contents and never changes again.
type page struct {
	frozen bool
	data   [pageSize]byte
}

// content is a sparse run of bytes. A page that is absent is zeros, and so is what a page holds past size.
type content struct {
	size  int64
	pages map[int64]*page
}

// clone returns a copy that shares all pages until either side writes to them.
func (c *content) clone() content {
	pages := make(map[int64]*page, len(c.pages))
	for i, p := range c.pages {
		if !p.frozen { // a page that is shared already may be read by another disk right now
			p.frozen = true
		}
		pages[i] = p
	}
	return content{size: c.size, pages: pages}
}

func (c *content) writable(index int64) *page {
	p := c.pages[index]
	if p != nil && !p.frozen {
		return p
	}
	own := new(page)
	if p != nil {
		own.data = p.data
	}
	if c.pages == nil {
		c.pages = map[int64]*page{}
	}
	c.pages[index] = own
	return own
}

func (c *content) readAt(b []byte, offset int64) (int, error) {
	n := 0
	for n < len(b) && offset < c.size {
		inPage := offset % pageSize
		chunk := b[n:min(int64(len(b)), int64(n)+pageSize-inPage, int64(n)+c.size-offset)]
		if p := c.pages[offset/pageSize]; p != nil {
			copy(chunk, p.data[inPage:])
		} else {
			clear(chunk)
		}
		n += len(chunk)
		offset += int64(len(chunk))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (c *content) writeAt(b []byte, offset int64) {
	for len(b) > 0 {
		n := copy(c.writable(offset / pageSize).data[offset%pageSize:], b)
		b = b[n:]
		offset += int64(n)
		c.size = max(c.size, offset)
	}
}

func (c *content) truncate(size int64) {
	if size < c.size {
		for i := range c.pages {
			if i*pageSize >= size {
				delete(c.pages, i)
			}
		}
		if c.pages[size/pageSize] != nil {
			clear(c.writable(size / pageSize).data[size%pageSize:])
		}
	}
	c.size = size
}
