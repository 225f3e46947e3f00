package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is an isolated network of nodes, each with its own network stack and address, which a test can cut
// off from each other. The test itself sits in the middle and reaches all of them at any time.
//
//	test (hub namespace, routes) --- veth --- node 1 (namespace)
//	                             --- veth --- node 2 ...
//
// Nothing of it is visible to the rest of the machine, whose network is not touched.
type Network struct {
	t      testing.TB
	name   string // of the hub's namespace, and what the nodes' begin with
	prefix string // 10.n.
	hub    int    // descriptor of the hub's namespace
	nodes  int
}

// Node is one machine of a Network.
type Node struct {
	IP        string
	namespace string
}

// NewNetwork makes a network that lasts as long as the test. It skips the test where that is not allowed.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	n, err := TryNetwork(t)
	if err != nil {
		t.Skip(err)
	}
	return n
}

// TryNetwork makes a network that lasts as long as the test. It returns an error where that is not allowed.
func TryNetwork(t testing.TB) (*Network, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces can't be made here: root is needed")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("network namespaces can't be made here: the ip command (iproute2) is needed: %w", err)
	}
	networks.mu.Lock()
	networks.count++
	n := &Network{t: t, name: fmt.Sprintf("weed-%d-%d", os.Getpid(), networks.count),
		prefix: fmt.Sprintf("10.%d.", 100+networks.count%100), hub: -1}
	networks.mu.Unlock()
	if err := n.try("netns", "add", n.name); err != nil {
		return nil, fmt.Errorf("network namespaces can't be made here: %w", err)
	}
	t.Cleanup(n.close)
	var err error
	if n.hub, err = unix.Open("/var/run/netns/"+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.within(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	}); err != nil {
		t.Fatal("let the hub route:", err)
	}
	networks.mu.Lock()
	defer networks.mu.Unlock()
	if networks.all == nil {
		networks.all = make(map[isolated]struct{})
	}
	networks.all[n] = struct{}{}
	return n, nil
}

func (n *Network) close() {
	networks.mu.Lock()
	delete(networks.all, n)
	networks.mu.Unlock()
	for i := range n.nodes {
		n.run("netns", "del", n.node(i).namespace)
	}
	n.run("netns", "del", n.name)
	if n.hub >= 0 {
		_ = unix.Close(n.hub)
	}
}

// try runs the ip command.
func (n *Network) try(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (n *Network) run(args ...string) {
	n.t.Helper()
	if err := n.try(args...); err != nil {
		n.t.Error(err)
	}
}

func (n *Network) node(i int) Node {
	return Node{IP: fmt.Sprintf("%s%d.2", n.prefix, i), namespace: fmt.Sprintf("%s-n%d", n.name, i)}
}

// Add makes one more node.
func (n *Network) Add() Node {
	n.t.Helper()
	i := n.nodes
	node, port, gateway := n.node(i), fmt.Sprintf("n%d", i), fmt.Sprintf("%s%d.1", n.prefix, i)
	if err := n.try("netns", "add", node.namespace); err != nil {
		n.t.Fatal(err)
	}
	n.nodes++
	for _, line := range []string{
		"link add " + port + " netns " + n.name + " type veth peer name eth0 netns " + node.namespace,
		"-n " + n.name + " addr add " + gateway + "/24 dev " + port,
		"-n " + n.name + " link set " + port + " up",
		"-n " + node.namespace + " addr add " + node.IP + "/24 dev eth0",
		"-n " + node.namespace + " link set eth0 up",
		"-n " + node.namespace + " link set lo up",
		"-n " + node.namespace + " route add default via " + gateway,
	} {
		if err := n.try(strings.Fields(line)...); err != nil {
			n.t.Fatal(err)
		}
	}
	return node
}

// Place returns a place on the node.
func (node Node) Place(port string) Place {
	return Place{Addr: net.JoinHostPort(node.IP, port), Wrap: []string{"ip", "netns", "exec", node.namespace}}
}

// Cut loses every packet between two nodes, in both directions.
func (n *Network) Cut(a, b Node) {
	n.t.Helper()
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// Heal undoes a Cut.
func (n *Network) Heal(a, b Node) {
	n.t.Helper()
	n.HealOneWay(a, b)
	n.HealOneWay(b, a)
}

// CutOneWay loses every packet from one node to another.
func (n *Network) CutOneWay(from, to Node) { n.rule("add", from, to) }

// HealOneWay undoes a CutOneWay.
func (n *Network) HealOneWay(from, to Node) { n.rule("del", from, to) }

func (n *Network) rule(verb string, from, to Node) {
	n.t.Helper()
	n.run("-n", n.name, "rule", verb, "from", from.IP, "to", to.IP, "blackhole")
}

// Slow lets so many bits a second through to a node. More has to wait, up to 400 ms, or is lost. It fails where the tc
// command or what it needs of the kernel is missing.
func (n *Network) Slow(node Node, kilobits int) error {
	return n.tc("add", node, "tbf", "rate", fmt.Sprint(kilobits, "kbit"), "burst", "16kb", "latency", "400ms")
}

// Fast undoes Slow.
func (n *Network) Fast(node Node) error { return n.tc("del", node) }

func (n *Network) tc(verb string, node Node, discipline ...string) error {
	port := strings.TrimPrefix(node.namespace, n.name+"-")
	return n.try(append([]string{"netns", "exec", n.name, "tc", "qdisc", verb, "dev", port, "root"}, discipline...)...)
}

func (n *Network) contains(ip net.IP) bool { return strings.HasPrefix(ip.String(), n.prefix) }

// dial connects from the hub.
func (n *Network) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.within(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// within calls f on a thread that is in the hub's namespace. A socket stays in the namespace that it was
// made in, whatever becomes of the thread. A thread that does not come back is ended with its goroutine.
func (n *Network) within(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer func() { _ = unix.Close(home) }()
			err = unix.Setns(n.hub, unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- err
			return
		}
		err = f()
		if back := unix.Setns(home, unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		} else {
			err = errors.Join(err, back)
		}
		done <- err
	}()
	return <-done
}
