package httpx

import (
	"io"
	"time"
)

// maxRejects bounds the connections that are being told 503; beyond it they are closed without a word.
const maxRejects = 128

const fullBody = `{"error":"too many connections: try again in a moment"}`

// fullAnswer fits into the empty send queue of a new socket, so writing it never blocks.
const fullAnswer = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n" +
	"Content-Type: application/json\r\nContent-Length: 55\r\n\r\n" + fullBody

// reject tells a client that the server is full, without a place among the connections. The client's request
// is read away first: closing on top of it would reset the connection and destroy the answer.
func (s *Server) reject(c *conn) {
	select {
	case s.rejects <- struct{}{}:
	default:
		_ = c.TCPConn.Close()
		return
	}
	s.wg.Go(func() {
		defer func() {
			_ = c.TCPConn.Close()
			<-s.rejects
		}()
		_ = c.TCPConn.SetDeadline(time.Now().Add(min(time.Second, s.cfg.IdleTimeout)))
		if _, err := io.WriteString(c.TCPConn, fullAnswer); err != nil || c.TCPConn.CloseWrite() != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, c.TCPConn, 64<<10)
	})
}
