package freeport

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestAddrIsKept takes a server down and up while others ask for ports.
func TestAddrIsKept(t *testing.T) {
	addr := Addr(t)
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("before the server: %v", err)
	}
	for range 3 {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		out, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ln.Close(), in.Close()); err != nil { // in stays behind in TIME_WAIT
			t.Fatal(err)
		}
		defer out.Close()
	}
}

// TestNobodyIsGivenTheAddr reserves, listens on and connects from more ports than a system that gave reserved
// ones away could keep apart by chance.
func TestNobodyIsGivenTheAddr(t *testing.T) {
	first, last := ephemeralPorts(t)
	const count = 200
	taken := make(map[string]bool)
	for range count {
		if addr := Addr(t); taken[addr] {
			t.Fatalf("%s is reserved twice", addr)
		} else {
			taken[addr] = true
		}
	}
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	// Each try hits a reserved port with a chance of count in all: so many leave one in a thousand to luck.
	for range 7 * (last - first + 1) / count {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		conn, err := net.Dial("tcp", target.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		in, err := target.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		for _, given := range []string{ln.Addr().String(), conn.LocalAddr().String()} {
			if taken[given] {
				t.Fatalf("%s, which is reserved, was given to somebody else", given)
			}
		}
	}
}

// ephemeralPorts returns the range that the system chooses from.
func ephemeralPorts(t *testing.T) (first, last int) {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b))
	first, err1 := strconv.Atoi(fields[0])
	last, err2 := strconv.Atoi(fields[1])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return first, last
}
