package master

import (
	"encoding/json"
	"fmt"
	"net"
	"testing"

	"github.com/valyala/fasthttp"

	"weed/internal/wire"
)

// request returns a context as the server would hand it to the handler.
func request(method, uri string) *fasthttp.RequestCtx {
	ctx := new(fasthttp.RequestCtx)
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(uri)
	ctx.Init(&req, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, nil)
	return ctx
}

// reset makes ctx ready for the next request with the same head.
func reset(ctx *fasthttp.RequestCtx, uri string) {
	ctx.Request.SetRequestURI(uri)
	ctx.Response.Reset()
}

// twoVolumes is a master with a volume of the default collection and one of "pictures".
func twoVolumes(t testing.TB) *Master {
	f := start(t, nil)
	v := f.volumeServer("dc1", "r1", 100)
	v.set(volumeInfo(3, "", nil))
	v.set(volumeInfo(4, "pictures", nil))
	v.beat(true)
	return f.m
}

var assignURIs = []string{"/dir/assign", "/dir/assign?collection=pictures&replication=000&count=3", "/dir/assign?dataCenter=dc1"}

func TestAssignAllocatesNothing(t *testing.T) {
	m := twoVolumes(t)
	for _, uri := range assignURIs {
		ctx := request("GET", uri)
		reset(ctx, uri)
		m.route(ctx)
		if n := testing.AllocsPerRun(200, func() {
			reset(ctx, uri)
			m.route(ctx)
		}); n > 0 || ctx.Response.StatusCode() != 200 {
			t.Errorf("%s: %v allocations, status %d", uri, n, ctx.Response.StatusCode())
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	m := twoVolumes(b)
	for _, uri := range assignURIs {
		b.Run(uri, func(b *testing.B) {
			ctx := request("GET", uri)
			b.ReportAllocs()
			for b.Loop() {
				reset(ctx, uri)
				m.route(ctx)
			}
			if ctx.Response.StatusCode() != 200 {
				b.Fatal(string(ctx.Response.Body()))
			}
		})
	}
}

func BenchmarkHeartbeatDecode(b *testing.B) {
	for _, volumes := range []int{0, 100} {
		b.Run(fmt.Sprint(volumes), func(b *testing.B) {
			hb := wire.Heartbeat{URL: "127.0.0.1:8080", DataCenter: "dc1", Rack: "r1", Full: volumes > 0}
			for i := range volumes {
				hb.Volumes = append(hb.Volumes, volumeInfo(uint32(i+1), "pictures", nil))
			}
			body, _ := json.Marshal(hb)
			for b.Loop() {
				var got wire.Heartbeat
				if err := json.Unmarshal(body, &got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
