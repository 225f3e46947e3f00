//go:build !unix

package client

import "net"

// open cannot tell without reading; the exchange finds out.
func open(net.Conn) bool { return true }
