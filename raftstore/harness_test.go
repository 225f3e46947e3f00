package raftstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weed/internal/freeport"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		childMain(dir)
	}
	goleak.VerifyTestMain(m)
}

// journal is a StateMachine that remembers the commands in order. A command "refuse" results in errRefused.
type journal struct {
	mu      sync.Mutex
	entries []string
}

var errRefused = errors.New("refused by the machine")

func (j *journal) Apply(command []byte) any {
	if string(command) == "refuse" {
		return errRefused
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, string(command))
	return len(j.entries)
}

func (j *journal) Snapshot() (io.WriterTo, error) {
	encoded, err := json.Marshal(j.list())
	return bytes.NewReader(encoded), err
}

func (j *journal) Restore(from io.Reader) error {
	var entries []string
	if err := json.NewDecoder(from).Decode(&entries); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = entries
	return nil
}

func (j *journal) list() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// network carries all connections of a cluster and can cut servers off.
type network struct {
	mu      sync.Mutex
	cut     map[string]bool   // connections end
	lossy   map[string]bool   // what is sent there is lost, and nobody is told
	swallow map[string]string // so is this text, and what follows it on the same connection
	conns   map[*wire]struct{}
}

type wire struct {
	net.Conn
	from, to string
	network  *network
	lost     bool // guarded by network.mu
}

func (w *wire) Write(b []byte) (int, error) {
	w.network.mu.Lock()
	text := w.network.swallow[w.to]
	lost := w.network.lossy[w.to] || w.lost || text != "" && bytes.Contains(b, []byte(text))
	w.lost = lost // a connection that has lost bytes is of no use any more
	w.network.mu.Unlock()
	if lost {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

func (w *wire) Close() error {
	w.network.mu.Lock()
	delete(w.network.conns, w)
	w.network.mu.Unlock()
	return w.Conn.Close()
}

func (n *network) dialer(from string) func(string, time.Duration) (net.Conn, error) {
	return func(to string, timeout time.Duration) (net.Conn, error) {
		conn, err := net.DialTimeout("tcp", to, timeout)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut[from] || n.cut[to] {
			conn.Close()
			return nil, fmt.Errorf("%s to %s: cut", from, to)
		}
		w := &wire{Conn: conn, from: from, to: to, network: n}
		n.conns[w] = struct{}{}
		return w, nil
	}
}

func (n *network) isolate(id string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = yes
	for w := range n.conns {
		if yes && (w.from == id || w.to == id) {
			w.Conn.Close()
		}
	}
}

func (n *network) loseText(to, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.swallow[to] = text
}

func (n *network) lose(to string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lossy[to] = yes
}

// raftHalf is what the owner of a shared port hands to a Store.
type raftHalf struct{ net.Listener }

func (l raftHalf) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var first [1]byte
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(conn, first[:]); err != nil || first[0] != DialByte {
			conn.Close()
			continue
		}
		return conn, nil
	}
}

// node is one server; its directory and address outlive its Store.
type node struct {
	t       *testing.T
	network *network
	id, dir string
	peers   []string
	adapt   func(*Config)
	log     *logCount

	*Store
	machine *journal
}

// start opens the node's Store with an empty machine.
func (n *node) start() *node {
	n.t.Helper()
	if err := n.open(); err != nil {
		n.t.Fatalf("open %s: %v", n.id, err)
	}
	return n
}

func (n *node) open() error {
	ln, err := net.Listen("tcp", n.id)
	if err != nil {
		n.t.Fatal(err)
	}
	n.machine, n.log = &journal{}, newLogCount(n.t, n.id)
	cfg := Config{
		Dir: n.dir, ID: n.id, Peers: n.peers, Listener: raftHalf{ln}, Dial: n.network.dialer(n.id),
		Timeouts: Timeouts{Heartbeat: 400 * time.Millisecond},
		Logger:   slog.New(n.log),
	}
	if n.adapt != nil {
		n.adapt(&cfg)
	}
	store, err := Open(cfg, n.machine)
	if err != nil {
		ln.Close()
	} else {
		n.Store = store
		n.t.Cleanup(func() { store.Close() })
	}
	return err
}

func (n *node) stop() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Errorf("close %s: %v", n.id, err)
	}
}

// wipe stands for a disk that was replaced.
func (n *node) wipe() {
	n.t.Helper()
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Fatal(err)
	}
}

type nodes []*node

// newNodes prepares count servers that all list each other; none is started.
func newNodes(t *testing.T, count int) nodes {
	t.Helper()
	network := &network{
		cut: map[string]bool{}, lossy: map[string]bool{}, swallow: map[string]string{}, conns: map[*wire]struct{}{},
	}
	var all nodes
	var ids []string
	for range count {
		ids = append(ids, freeport.Addr(t))
	}
	for _, id := range ids {
		n := &node{t: t, network: network, id: id, dir: t.TempDir()}
		if count > 1 {
			n.peers = ids
		}
		all = append(all, n)
	}
	return all
}

func (ns nodes) start() {
	for _, n := range ns {
		n.start()
	}
}

// leader waits until exactly one of the nodes leads and the others follow it.
func (ns nodes) leader(t *testing.T) *node {
	t.Helper()
	var leader *node
	await(t, "one leader that all agree on", func() bool {
		leader = nil
		for _, n := range ns {
			if n.IsLeader() {
				if leader != nil {
					return false
				}
				leader = n
			}
		}
		if leader == nil {
			return false
		}
		return !slices.ContainsFunc(ns, func(n *node) bool { id, _ := n.Leader(); return id != leader.id })
	})
	return leader
}

func (ns nodes) without(gone *node) nodes {
	return slices.DeleteFunc(slices.Clone(ns), func(n *node) bool { return n == gone })
}

func (ns nodes) ids() []string {
	var ids []string
	for _, n := range ns {
		ids = append(ids, n.id)
	}
	slices.Sort(ids)
	return ids
}

// propose retries until a command is certainly applied once; only for tests in which no outcome is unknown.
func (ns nodes) propose(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		await(t, "acceptance of "+command, func() bool {
			for _, n := range ns {
				_, err := n.Propose(t.Context(), []byte(command))
				if err == nil {
					return true
				}
				if errors.Is(err, ErrOutcomeUnknown) {
					t.Fatalf("propose %s: %v", command, err)
				}
			}
			return false
		})
	}
}

// agree waits until all nodes have applied the same commands as want.
func (ns nodes) agree(t *testing.T, want []string) {
	t.Helper()
	for _, n := range ns {
		await(t, fmt.Sprintf("%s to apply %d commands", n.id, len(want)), func() bool {
			return slices.Equal(n.machine.list(), want)
		})
	}
}

// members waits until every node knows exactly these members.
func (ns nodes) members(t *testing.T, want []string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	for _, n := range ns {
		await(t, fmt.Sprintf("%s to know members %v", n.id, want), func() bool {
			var got []string
			for _, m := range n.Members() {
				got = append(got, m.ID)
			}
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	}
}

const patience = 30 * time.Second

// await polls a condition.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}

func numbered(prefix string, count int) []string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf("%s%d", prefix, i))
	}
	return list
}

// logCount is a slog.Handler that counts messages and shows them when the test fails.
type logCount struct {
	name string
	t    *testing.T

	mu   sync.Mutex
	seen []string
}

func newLogCount(t *testing.T, name string) *logCount {
	l := &logCount{name: name, t: t}
	t.Cleanup(func() {
		if t.Failed() && testing.Verbose() {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Logf("log of %s:\n%s", name, strings.Join(l.seen, "\n"))
		}
	})
	return l
}

func (l *logCount) Enabled(context.Context, slog.Level) bool { return true }
func (l *logCount) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logCount) WithGroup(string) slog.Handler            { return l }

func (l *logCount) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	fmt.Fprintf(&line, "%s %s %s", r.Time.Format("05.000"), r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&line, " %s", a); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, line.String())
	return nil
}

func (l *logCount) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.seen {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
