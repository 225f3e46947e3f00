package raftstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSingleServerKeepsItsStateOverARestart(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 1)[0].start()
	want := numbered("c", 20)
	nodes{n}.propose(t, want...)
	if _, err := n.Propose(t.Context(), []byte("refuse")); !errors.Is(err, errRefused) {
		t.Errorf("a refused command gave %v", err)
	}
	n.stop()
	n.start()
	await(t, "ready", func() bool { return n.Ready(t.Context()) == nil })
	if got := n.machine.list(); !slices.Equal(got, want) {
		t.Errorf("after the restart %v, want %v", got, want)
	}
	result, err := n.Propose(t.Context(), []byte("one more"))
	if err != nil || result != len(want)+1 {
		t.Errorf("propose gave %v, %v", result, err)
	}
	if err := n.VerifyLeader(t.Context()); err != nil {
		t.Errorf("verify: %v", err)
	}
	if m := n.Members(); len(m) != 1 || m[0] != (Member{ID: n.id, Voter: true, Leader: true}) {
		t.Errorf("members %+v", m)
	}
}

// A lone server has nobody to wait for: it leads long before the time-out of an election.
func TestSingleServerLeadsAtOnce(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 1)[0]
	n.adapt = func(c *Config) { c.Timeouts = Timeouts{Heartbeat: time.Hour} }
	for range 2 {
		n.start()
		start := time.Now()
		await(t, "ready", func() bool { return n.Ready(t.Context()) == nil })
		t.Logf("ready after %v", time.Since(start))
		n.stop()
	}
}

func TestSnapshotReplacesTheLog(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 1)[0].start()
	want := numbered("before", 10)
	nodes{n}.propose(t, want...)
	if err := n.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	nodes{n}.propose(t, "after")
	n.stop()
	n.start()
	if got := n.machine.list(); len(got) < len(want) {
		t.Errorf("Open returned before the snapshot was restored: %v", got)
	}
	nodes{n}.agree(t, append(want, "after"))
}

func TestCloseIsFinal(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 1)[0].start()
	nodes{n}.propose(t, "x")
	changes := n.LeaderChanges()
	n.stop()
	n.stop()
	<-changes
	ctx := t.Context()
	for name, err := range map[string]error{
		"Ready":        n.Ready(ctx),
		"VerifyLeader": n.VerifyLeader(ctx),
		"AddVoter":     n.AddVoter(ctx, "127.0.0.1:1"),
		"RemoveServer": n.RemoveServer(ctx, "127.0.0.1:1"),
		"Transfer":     n.TransferLeadership(ctx, ""),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if _, err := n.Propose(ctx, []byte("y")); !errors.Is(err, ErrClosed) {
		t.Errorf("Propose after Close: %v", err)
	}
	if n.IsLeader() {
		t.Error("leads after Close")
	}
}

func TestDirectoryHasOneOwner(t *testing.T) {
	t.Parallel()
	n := newNodes(t, 1)[0].start()
	other := newNodes(t, 1)[0]
	other.dir = n.dir
	if err := other.open(); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), n.dir) {
		t.Errorf("second Open: %v", err)
	}
	nodes{n}.propose(t, "still here")
}

func TestUnusableConfigurations(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Config){
		"no directory":      func(c *Config) { c.Dir = "" },
		"no port":           func(c *Config) { c.ID = "127.0.0.1" },
		"port zero":         func(c *Config) { c.ID = "127.0.0.1:0" },
		"all interfaces":    func(c *Config) { c.ID = "0.0.0.0:9333" },
		"peer of no port":   func(c *Config) { c.Peers = []string{"localhost"} },
		"no listener":       func(c *Config) { c.Listener = nil },
		"lease > heartbeat": func(c *Config) { c.Timeouts = Timeouts{Heartbeat: 50 * time.Millisecond, Lease: time.Second} },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNodes(t, 1)[0]
			n.adapt = spoil
			if err := n.open(); !errors.Is(err, ErrConfig) {
				t.Errorf("Open gave %v", err)
			}
		})
	}
	t.Run("directory is a file", func(t *testing.T) {
		n := newNodes(t, 1)[0]
		n.dir = filepath.Join(n.dir, "file")
		if err := os.WriteFile(n.dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.open(); err == nil {
			t.Error("Open succeeded")
		}
	})
}

func TestContextEndsAProposal(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 3)
	ns.start()
	leader := ns.leader(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := leader.Propose(ctx, []byte("never")); !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// Without a majority a proposal cannot be decided.
	leader.network.isolate(leader.id, true)
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := leader.Propose(ctx, []byte("perhaps"))
	if !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrNoLeader) && !errors.Is(err, ErrNotLeader) {
		t.Errorf("cut off: %v", err)
	}
}

const childDir = "RAFTSTORE_TEST_CHILD_DIR"

// childMain proposes without end and prints every command that was acknowledged.
func childMain(dir string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	machine := &journal{}
	store, err := Open(Config{Dir: dir, ID: "127.0.0.1:9333", Listener: raftHalf{ln}, SnapshotEvery: 20}, machine)
	if err != nil {
		panic(err)
	}
	for {
		changed := store.LeaderChanges()
		if store.Ready(context.Background()) == nil {
			break
		}
		<-changed
	}
	for i := len(machine.list()); ; i++ {
		if i%50 == 49 {
			_ = store.raft.Snapshot().Error()
		}
		if _, err := store.Propose(context.Background(), fmt.Appendf(nil, "c%d", i)); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

// TestKillKeepsWhatWasAcknowledged kills a process in the middle of proposals, again and again.
func TestKillKeepsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	dir, acknowledged := t.TempDir(), -1
	for round := range 5 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for goal := acknowledged + 20 + 13*round; lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &acknowledged); err != nil {
				t.Fatalf("child printed %q", lines.Text())
			}
			if acknowledged == goal {
				_ = child.Process.Kill()
			}
		}
		_ = child.Wait()

		n := newNodes(t, 1)[0]
		n.dir = dir
		n.adapt = func(c *Config) { c.ID = "127.0.0.1:9333" }
		n.start()
		await(t, "ready", func() bool { return n.Ready(t.Context()) == nil })
		got := n.machine.list()
		n.stop()
		// The command that was under way when the process died may be there too.
		if want := numbered("c", len(got)); !slices.Equal(got, want) || len(got) <= acknowledged {
			t.Fatalf("round %d: %d commands after %d were acknowledged: %v", round, len(got), acknowledged+1, got)
		}
	}
}
