package httpx

import (
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// Hijack answers a request with 101 and hands its connection to serve, without deadlines, for the protocol that the
// answer names. The other end says nothing in that before it has the answer. serve owns the connection: the server
// neither closes it nor waits for it any more when it stops.
func Hijack(ctx *fasthttp.RequestCtx, protocol string, serve func(net.Conn)) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		Error(ctx, fasthttp.StatusInternalServerError, "this connection can't be used for another protocol")
		return
	}
	c.taken = true
	ctx.Response.Reset()
	ctx.SetStatusCode(fasthttp.StatusSwitchingProtocols)
	ctx.Response.Header.Set(fasthttp.HeaderConnection, "Upgrade")
	ctx.Response.Header.Set(fasthttp.HeaderUpgrade, protocol)
	ctx.Hijack(func(net.Conn) {
		if c.TCPConn.SetDeadline(time.Time{}) == nil {
			serve(c.TCPConn)
		}
		_ = c.TCPConn.Close()
	})
}
