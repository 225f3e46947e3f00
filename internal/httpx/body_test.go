package httpx

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

func putHead(length int, more ...string) string {
	return lines("PUT /x HTTP/1.1", "Host: h", fmt.Sprintf("Content-Length: %d", length),
		strings.Join(append(more, "\r\n"), "\r\n"))
}

func put(length int) string {
	return fmt.Sprintf("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", length)
}

const chunkedHead = "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunked(body string, size int) string {
	var sb strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&sb, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return sb.String() + "0\r\n\r\n"
}

func TestBodySizes(t *testing.T) {
	const limit = 2<<20 + 1
	budget := NewBudget(limit+1<<20, 0)
	s := start(t, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		b, err := ReadBody(ctx, budget, limit)
		if err != nil {
			fail(ctx, err)
			return
		}
		defer b.Release()
		ctx.SetBody(b.Bytes)
	}})
	c := dial(t, s.addr)
	for _, n := range []int{0, 1, 2, 1023, 1024, 1025, 8191, 8192, 8193, 100_000, 128 << 10, 128<<10 + 1, 1 << 20,
		1<<20 + 1, limit - 1, limit} {
		body := strings.Repeat("0123456789abcdef!", n/17+1)[:n]
		c.send(put(n) + body)
		if r := c.read("PUT").want(t, 200); r.body != body {
			t.Fatalf("declared %d: the body differs", n)
		}
		c.send(chunkedHead + chunked(body, 70_001))
		if r := c.read("PUT").want(t, 200); r.body != body {
			t.Fatalf("chunked %d: the body differs", n)
		}
	}
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })

	c.send(chunkedHead + chunked(strings.Repeat("x", limit+1), 1<<20))
	c.read("PUT").want(t, 413)
	// The next request may not see the rest of that body.
	dial(t, s.addr).send(get).read("GET").want(t, 200)
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })
}

func TestBodyTooLarge(t *testing.T) {
	budget := NewBudget(0, 0)
	s := start(t, Config{Handler: echoSize(budget, 1<<20), MaxBodyBytes: 2 << 20})
	t.Run("by its length, from the first byte", func(t *testing.T) {
		c := dial(t, s.addr).send(put(1<<20+1) + "x")
		c.read("PUT").want(t, 413)
	})
	t.Run("small rest keeps the connection", func(t *testing.T) {
		small := start(t, Config{Handler: echoSize(budget, 10)})
		c := dial(t, small.addr).send(put(11) + "hello world")
		c.read("PUT").want(t, 413)
		c.send(get).read("GET").want(t, 200)
	})
	t.Run("with Expect", func(t *testing.T) {
		c := dial(t, s.addr).send(putHead(2<<20+1, "Expect: 100-continue"))
		if r := c.read("PUT").want(t, 413); !r.Close {
			t.Error("no Connection: close")
		}
		_ = c.CloseWrite()
		c.wantClosed()
	})
	t.Run("while it is sent", func(t *testing.T) {
		// The client does not look before it has sent all: it must not be reset.
		const n = 32 << 20
		c := dial(t, s.addr).send(put(n))
		if _, err := io.CopyN(c.TCPConn, zeros{}, n); err != nil {
			t.Fatalf("the server cut the client off: %v", err)
		}
		c.read("PUT").want(t, 413)
		c.wantClosed()
	})
	t.Run("chunked", func(t *testing.T) {
		c := dial(t, s.addr).send(chunkedHead + chunked(strings.Repeat("x", 3<<20), 1<<20))
		c.read("PUT").want(t, 413)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestExpectContinue(t *testing.T) {
	s := start(t, Config{Handler: echoSize(NewBudget(0, 0), 1<<20)})
	c := dial(t, s.addr).send(putHead(5, "Expect: 100-continue"))
	if r := c.read("PUT"); r.StatusCode != 100 {
		t.Fatalf("status %d", r.StatusCode)
	}
	c.send("hello").read("PUT").want(t, 201)
	c.send(get).read("GET").want(t, 200)
}

func TestBodyBroken(t *testing.T) {
	budget := NewBudget(0, 0)
	s := start(t, Config{Handler: echoSize(budget, 64<<20)})
	for name, request := range map[string]string{
		"short":                    put(10) + "hello",
		"short, large":             put(1<<20) + strings.Repeat("x", 1<<19),
		"chunk cut":                chunkedHead + "a\r\nhello",
		"cut between chunks":       chunkedHead + "5\r\nhello\r\n",
		"cut in a chunk size":      chunkedHead + "5\r\nhello\r\n0",
		"cut after the first size": chunkedHead + "5",
		"no size":                  chunkedHead + "xyz\r\nhello\r\n0\r\n\r\n",
		"wrong size":               chunkedHead + "3\r\nhello\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s.addr).send(request)
			_ = c.CloseWrite()
			if r := c.read("PUT").want(t, 400); !r.Close {
				t.Error("no Connection: close")
			}
			c.wantClosed()
		})
	}
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })
}

func TestForm(t *testing.T) {
	budget := NewBudget(0, 0)
	s := start(t, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		if err := ReadForm(ctx, budget, 100); err != nil {
			fail(ctx, err)
			return
		}
		JSON(ctx, 200, string(ctx.FormValue("a")))
	}})
	form := func(body string) string {
		return fmt.Sprintf("POST /?b=2 HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	c := dial(t, s.addr)
	if r := c.send(form("a=x%20y")).read("POST").want(t, 200); r.body != `"x y"` {
		t.Errorf("body %q", r.body)
	}
	c.send(form("a="+strings.Repeat("x", 100))).read("POST").want(t, 413)
	c.send(get).read("GET").want(t, 200)
	if budget.InUse() != 0 {
		t.Error("the budget is still in use")
	}
}

// A client that only declares a body holds no more than one step of the budget.
func TestDeclaredIsNotHeld(t *testing.T) {
	budget := NewBudget(8<<20, 0)
	s := start(t, Config{Handler: echoSize(budget, 8<<20)})
	var idlers []*client
	for range 6 {
		idlers = append(idlers, dial(t, s.addr).send(put(8<<20)+"x"))
	}
	eventually(t, "six bodies have begun", func() bool { return budget.InUse() == 6*growStepBytes })
	dial(t, s.addr).send(put(1<<20)+strings.Repeat("x", 1<<20)).read("PUT").want(t, 201)
	for _, c := range idlers {
		_ = c.Close()
	}
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })
}

func TestBusy(t *testing.T) {
	budget := NewBudget(1<<20, time.Millisecond)
	s := start(t, Config{Handler: echoSize(budget, 1<<20)})
	holder := dial(t, s.addr).send(put(1<<20) + "x")
	eventually(t, "the budget is used up", func() bool { return budget.InUse() == 1<<20 })
	c := dial(t, s.addr).send(put(5) + "hello")
	if r := c.read("PUT").want(t, 429); r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	holder.send(strings.Repeat("x", 1<<20-1)).read("PUT").want(t, 201)
	c.send(put(5)+"hello").read("PUT").want(t, 201)
}

// Eight large uploads at once through a budget for two: nobody deadlocks, some may be told to come again,
// and everybody gets through in the end.
func TestManyLargeBodies(t *testing.T) {
	budget := NewBudget(4<<20, deadline)
	s := start(t, Config{Handler: echoSize(budget, 2<<20)})
	body := strings.Repeat("x", 2<<20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for end := time.Now().Add(deadline); time.Now().Before(end); {
				c := dial(t, s.addr)
				c.send(put(len(body)) + body)
				if r := c.read("PUT"); r.StatusCode == 201 {
					return
				}
				_ = c.Close()
			}
			t.Error("an upload never got through")
		})
	}
	wg.Wait()
	eventually(t, "all is given back", func() bool { return budget.InUse() == 0 })
	if budget.shelf.resident > budget.shelf.most {
		t.Errorf("%d bytes lie ready, at most %d", budget.shelf.resident, budget.shelf.most)
	}
}

func TestClasses(t *testing.T) {
	last := -1
	for n := 1; n < 9<<20; n += 1 + n/97 {
		index, size := classOf(n)
		if size < n || n > minClassBytes && size*4 > n*5+4 {
			t.Fatalf("%d bytes get %d", n, size)
		}
		if i, s := classOf(size); i != index || s != size {
			t.Fatalf("class %d of %d bytes is class %d of its own size", index, n, i)
		}
		if index < last || index > last+1 {
			t.Fatalf("class jumps from %d to %d at %d", last, index, n)
		}
		last = index
	}
	if i, _ := classOf(maxHeapBytes); i != heapClasses-1 {
		t.Errorf("the last heap class is %d", i)
	}
}
