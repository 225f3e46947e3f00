package httpx

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// Errors of ReadBody. Fail answers them.
var (
	ErrTooLarge    = errors.New("body too large")          // 413
	ErrBusy        = errors.New("too many bodies at once") // 429
	ErrBodyTimeout = errors.New("body stalled")            // 408; the connection closes
	ErrBodyBroken  = errors.New("body broken")             // 400; the connection closes
)

// growStepBytes is the unit in which a large body takes its budget as it arrives.
const growStepBytes = 1 << 20

// A Body is a request's body in memory that counts against a Budget until Release.
type Body struct {
	Bytes []byte // valid until Release

	budget *Budget
	claim  claim
	inUse  atomic.Bool

	heap  []byte  // a pooled buffer of class, or nil
	class int     // of heap
	kmem  mapping // or else kernel memory,
	keep  bool    // which is worth keeping for reuse
}

// Release gives the memory back. It must be called once, after the last use of Bytes, whatever happens to
// the request.
func (b *Body) Release() {
	if b == nil || !b.inUse.CompareAndSwap(true, false) {
		return
	}
	budget, held := b.budget, b.claim.held
	b.Bytes, b.budget, b.claim = nil, nil, claim{}
	if m := b.kmem; m.mem != nil {
		b.kmem = mapping{}
		if b.keep {
			budget.shelf.put(m)
		} else {
			m.unmap()
		}
	}
	if b.heap != nil {
		heapPools[b.class].Put(b) // b is not ours from here on
	}
	budget.release(held)
}

// ReadBody reads the request's body, of declared length or chunked, of limitBytes at most (and never more
// than the whole budget). A body of up to 128 KiB takes its memory from the budget before it is read, a larger
// one in steps of 1 MiB as it really arrives. ReadBody may wait for the client and for the budget. The
// error is one of ErrTooLarge, ErrBusy, ErrBodyTimeout and ErrBodyBroken, wrapped; then there is nothing to
// release, and Fail answers it.
func ReadBody(ctx *fasthttp.RequestCtx, budget *Budget, limitBytes int64) (*Body, error) {
	limit := int(min(limitBytes, budget.total))
	length := ctx.Request.Header.ContentLength()
	r := ctx.RequestBodyStream()
	if r == nil { // there is none, or ReadForm has read it
		body := ctx.Request.Body()
		if len(body) > limit {
			return nil, tooLarge(int64(len(body)), limit)
		}
		b := &Body{Bytes: body, budget: budget}
		b.inUse.Store(true)
		return b, nil
	}
	if length > limit {
		return nil, tooLarge(int64(length), limit)
	}
	c, _ := ctx.Conn().(*conn)
	src := source{conn: c, r: r}
	var b *Body
	var err error
	switch {
	case length < 0:
		b, err = readChunked(src, budget, limit)
	case length <= maxHeapBytes:
		b, err = readSmall(src, budget, length)
	default:
		b, err = readLarge(src, budget, length)
	}
	if err != nil {
		if errors.Is(err, ErrBodyTimeout) || errors.Is(err, ErrBodyBroken) {
			ctx.SetConnectionClose()
		}
		return nil, err
	}
	if c != nil {
		c.unread = false
	}
	return b, nil
}

// ReadForm reads a form (application/x-www-form-urlencoded) of limitBytes at most, after which PostArgs and
// FormValue of ctx know its fields. With any other content type it does nothing. Errors are those of ReadBody.
func ReadForm(ctx *fasthttp.RequestCtx, budget *Budget, limitBytes int64) error {
	const form = "application/x-www-form-urlencoded"
	if t := ctx.Request.Header.ContentType(); len(t) < len(form) || string(t[:len(form)]) != form {
		return nil
	}
	b, err := ReadBody(ctx, budget, limitBytes)
	if err != nil {
		return err
	}
	defer b.Release()
	if ctx.Request.IsBodyStream() {
		ctx.Request.SetBody(b.Bytes)
	}
	return nil
}

func tooLarge(length int64, limit int) error {
	return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, length, limit)
}

// source is a body on its way in.
type source struct {
	conn *conn // nil when the server is not ours
	r    io.Reader
}

// into fills p, and reports the end of the body, which may come with the last byte or after it.
func (s source) into(p []byte) (n int, end bool, err error) {
	for n < len(p) {
		m, err := s.r.Read(p[n:])
		n += m
		switch {
		case err == io.EOF:
			return n, true, nil
		case isTimeout(err):
			return n, false, fmt.Errorf("%w after %d bytes", ErrBodyTimeout, n)
		case err != nil:
			return n, false, fmt.Errorf("%w after %d bytes: %v", ErrBodyBroken, n, err)
		}
	}
	return n, false, nil
}

// extend takes n more bytes of the budget for b. The client is not blamed for the wait.
func (b *Body) extend(src source, n int) error {
	err := b.budget.extend(&b.claim, int64(n))
	if src.conn != nil {
		src.conn.restartWindow()
	}
	return err
}

// readSmall reads a body of known length into Go memory.
func readSmall(src source, budget *Budget, length int) (*Body, error) {
	b := heapBody(budget, length)
	err := b.extend(src, min(len(b.heap), int(budget.total)))
	if err == nil {
		var n int
		if n, _, err = src.into(b.heap[:length]); err == nil && n < length {
			err = ErrBodyBroken
		}
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	b.Bytes = b.heap[:length:length]
	return b, nil
}

// readLarge reads a body of known length into kernel memory.
func readLarge(src source, budget *Budget, length int) (*Body, error) {
	b := &Body{budget: budget, keep: true, claim: claim{age: budget.ages.Add(1)}}
	b.inUse.Store(true)
	var err error
	if b.kmem, err = budget.shelf.take(length); err != nil {
		err = fmt.Errorf("%w: %v", ErrBusy, err)
	} else {
		var n int
		if n, _, err = b.fill(src, 0, length); err == nil && n < length {
			err = ErrBodyBroken
		}
	}
	if err != nil {
		b.Release()
		return nil, err
	}
	b.Bytes = b.kmem.mem[:length:length]
	return b, nil
}

// fill reads from offset n up to offset want of the kernel memory, whose pages cost nothing before they are
// written; the budget follows in steps.
func (b *Body) fill(src source, n, want int) (_ int, end bool, err error) {
	for n < want && !end {
		next := min(n+growStepBytes, want)
		if more := min(next, int(b.budget.total)) - int(b.claim.held); more > 0 {
			if err := b.extend(src, more); err != nil {
				return n, false, err
			}
		}
		b.kmem.resident = max(b.kmem.resident, next)
		var m int
		if m, end, err = src.into(b.kmem.mem[n:next]); err != nil {
			return n, false, err
		}
		n += m
	}
	return n, end, nil
}

// readChunked reads a body of unknown length: into Go memory while it is small, then into kernel memory with
// room for limit. That room is address space, not memory, and it goes back at once.
func readChunked(src source, budget *Budget, limit int) (*Body, error) {
	b := heapBody(budget, maxHeapBytes)
	b.claim.age = budget.ages.Add(1)
	err := b.extend(src, min(maxHeapBytes, int(budget.total)))
	if err != nil {
		b.Release()
		return nil, err
	}
	n, end, err := src.into(b.heap[:min(maxHeapBytes, limit+1)])
	if err == nil && !end && n <= limit {
		big := &Body{budget: budget}
		big.inUse.Store(true)
		if big.kmem, err = newMapping(limit + 1); err != nil {
			b.Release()
			return nil, fmt.Errorf("%w: %v", ErrBusy, err)
		}
		big.claim, b.claim = b.claim, claim{}
		copy(big.kmem.mem, b.heap[:n])
		b.Release()
		b = big
		n, end, err = b.fill(src, n, limit+1)
	}
	switch {
	case err != nil:
	case n > limit || !end:
		err = tooLarge(int64(n), limit)
	default:
		b.Bytes = b.heap
		if b.Bytes == nil {
			b.Bytes = b.kmem.mem
		}
		b.Bytes = b.Bytes[:n:n]
		return b, nil
	}
	b.Release()
	return nil, err
}
