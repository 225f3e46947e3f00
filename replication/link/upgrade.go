package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"

	"weed/internal/wire"
	"weed/replication"
)

// Protocol is what the Upgrade header of both request and answer says.
const Protocol = "weed-replication/1"

// ErrRefused means that a request to begin a connection does not suit, or was answered by anything but 101.
var ErrRefused = errors.New("refused")

// maxAnswerBytes bounds the head of an answer, maxNameBytes the name of a server.
const (
	maxAnswerBytes = 4 << 10
	maxNameBytes   = 300
)

// Upgrade asks at the other end of a new connection, which is to be server to, for the protocol of this package in
// the name of self. It waits for the answer as long as the connection's deadlines allow.
func Upgrade(conn net.Conn, to, self replication.Server) error {
	if !isName(to) || !isName(self) {
		return fmt.Errorf("%w: %q and %q are not both names of servers", ErrRefused, to, self)
	}
	request := "GET " + wire.PathReplicate + " HTTP/1.1\r\nHost: " + string(to) + "\r\nConnection: Upgrade\r\nUpgrade: " +
		Protocol + "\r\nFrom: " + string(self) + "\r\n\r\n"
	if _, err := conn.Write([]byte(request)); err != nil {
		return fmt.Errorf("ask for replication: %w", err)
	}
	answer := make([]byte, 0, maxAnswerBytes)
	for {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		answer = answer[:len(answer)+n]
		if head, rest, ok := bytes.Cut(answer, []byte("\r\n\r\n")); ok {
			return checkAnswer(string(head), len(rest))
		}
		if err != nil {
			return fmt.Errorf("wait for the answer to a request for replication: %w", err)
		}
		if len(answer) == cap(answer) {
			return fmt.Errorf("%w: the answer is too long", ErrRefused)
		}
	}
}

func checkAnswer(head string, rest int) error {
	status, fields, _ := strings.Cut(head, "\r\n")
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return fmt.Errorf("%w: %.200q", ErrRefused, status)
	}
	for field := range strings.SplitSeq(fields, "\r\n") {
		name, value, _ := strings.Cut(field, ":")
		if strings.EqualFold(name, "Upgrade") && strings.EqualFold(strings.TrimSpace(value), Protocol) {
			if rest > 0 {
				return fmt.Errorf("%w: something follows the answer", ErrRefused)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: the answer names another protocol", ErrRefused)
}

// Accept judges the headers Upgrade, Host and From of a request to wire.PathReplicate. If they suit it returns the
// sender, for Serve; the answer is then to be 101 with Connection: Upgrade and Upgrade: Protocol. Errors are ErrSelf
// and ErrRefused.
func (l *Links) Accept(upgrade, host, from string) (replication.Server, error) {
	switch {
	case !strings.EqualFold(upgrade, Protocol):
		return "", fmt.Errorf("%w: protocol %.100q, this is %s", ErrRefused, upgrade, Protocol)
	case host != string(l.cfg.Self): // the port has changed hands
		return "", fmt.Errorf("%w: this is %s, not %.300q", ErrRefused, l.cfg.Self, host)
	case from == string(l.cfg.Self):
		return "", ErrSelf
	case !isName(replication.Server(from)):
		return "", fmt.Errorf("%w: %.300q is no name of a server", ErrRefused, from)
	}
	return replication.Server(from), nil
}

// isName reports whether s may stand in a header.
func isName(s replication.Server) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
