package httpx

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// A Guard lets only listed addresses change things. A nil *Guard lets everyone. It judges the address of the
// TCP peer, never a header, which anybody may write.
type Guard struct {
	prefixes []netip.Prefix
}

// guardedPaths need a listed address with any method.
var guardedPaths = [][]byte{[]byte("/admin"), []byte("/internal"), []byte("/debug")}

// ParseGuard reads a -whiteList: IP addresses and CIDR ranges with commas between them. An empty list
// is a nil Guard.
func ParseGuard(text string) (*Guard, error) {
	var g Guard
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if addr, err := netip.ParseAddr(item); err == nil {
			addr = addr.Unmap().WithZone("")
			g.prefixes = append(g.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(item)
		if err != nil {
			return nil, fmt.Errorf("-whiteList: %q is neither an IP address nor a range like 10.0.0.0/8", item)
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		g.prefixes = append(g.prefixes, p.Masked())
	}
	if len(g.prefixes) == 0 {
		return nil, nil
	}
	return &g, nil
}

// Listed reports whether addr may change things.
func (g *Guard) Listed(addr netip.Addr) bool {
	if g == nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, p := range g.prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Permit reports whether the peer is listed, and otherwise answers 403. Server asks it for every request
// with a method other than GET, HEAD and OPTIONS and for paths under /admin, /internal and /debug; a
// handler that changes something on GET asks it by itself.
func (g *Guard) Permit(ctx *fasthttp.RequestCtx) bool {
	if g == nil {
		return true
	}
	var addr netip.Addr
	if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		addr = tcp.AddrPort().Addr().Unmap()
	}
	if g.Listed(addr) {
		return true
	}
	Error(ctx, fasthttp.StatusForbidden, "address "+addr.String()+" may not do this: add it to the server's -whiteList")
	return false
}

// guards reports whether the request needs a listed address.
func (g *Guard) guards(ctx *fasthttp.RequestCtx) bool {
	switch string(ctx.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions:
	default:
		return true
	}
	path := ctx.Path() // decoded and cleaned: %61dmin and //admin are found
	for _, p := range guardedPaths {
		if rest, ok := bytes.CutPrefix(path, p); ok && (len(rest) == 0 || rest[0] == '/') {
			return true
		}
	}
	return false
}
