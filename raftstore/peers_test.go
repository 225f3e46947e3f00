package raftstore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestMemberList(t *testing.T) {
	t.Parallel()
	names := map[string][]string{
		"localhost": {"::1", "127.0.0.1"},
		"m1":        {"10.0.0.1"}, "m2": {"10.0.0.2"}, "M2": {"10.0.0.2"},
	}
	lookup := func(_ context.Context, host string) ([]string, error) {
		if ips, ok := names[host]; ok {
			return slices.Clone(ips), nil
		}
		return nil, errors.New("no such host")
	}
	for _, row := range []struct {
		name  string
		id    string
		peers []string
		want  []string
	}{
		{"none", "127.0.0.1:9333", nil, []string{"127.0.0.1:9333"}},
		{"itself by name", "127.0.0.1:9333", []string{"localhost:9333"}, []string{"127.0.0.1:9333"}},
		{"names of addresses", "127.0.0.1:9334", []string{"localhost:9333", "localhost:9334", "localhost:9335"},
			[]string{"127.0.0.1:9333", "127.0.0.1:9334", "127.0.0.1:9335"}},
		{"without itself", "10.0.0.1:9333", []string{"10.0.0.3:9333", "m2:9333"},
			[]string{"10.0.0.1:9333", "10.0.0.2:9333", "10.0.0.3:9333"}},
		{"itself by address", "m1:9333", []string{"10.0.0.1:9333", "M2:9333"}, []string{"m1:9333", "m2:9333"}},
		{"a name unknown for now", "10.0.0.1:9333", []string{"M9:9333"}, []string{"10.0.0.1:9333", "m9:9333"}},
		{"twice", "m1:9333", []string{"m2:9333", "m2:9333"}, []string{"m1:9333", "m2:9333"}},
		{"IPv6", "[::1]:9333", []string{"[0:0::1]:9333", "[::1]:9334"}, []string{"[::1]:9333", "[::1]:9334"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := memberList(t.Context(), row.id, row.peers, lookup); !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// Connections that say nothing, or nonsense, do not keep a server from working.
func TestStrangersAreBounded(t *testing.T) {
	t.Parallel()
	ns := newNodes(t, 2)
	ns[0].start()
	for _, hello := range []string{"\x01", "\x01\x00", "\x01\x00too short", "\x01\x00sixteen bytes...", "\x01\x01{]\n", "\x01\xff"} {
		for range maxStrangers {
			conn, err := net.Dial("tcp", ns[0].id)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(hello)); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "few connections kept", func() bool {
		ns[0].stream.mu.Lock()
		defer ns[0].stream.mu.Unlock()
		return len(ns[0].stream.conns) <= maxStrangers
	})
	ns[1].start()
	ns.leader(t)
	ns.propose(t, "a")
}

func TestLogBridge(t *testing.T) {
	t.Parallel()
	log := newLogCount(t, "bridge")
	var bridge hclog.Logger = &logBridge{to: slog.New(log)}
	bridge.Named("x").Error("disk", "servers", hclog.Fmt("%d of %d", 1, 2))
	bridge.Error("failed to heartbeat to")
	bridge.Info("entering candidate state")
	for _, want := range []string{"ERROR raft: disk servers=1 of 2", "DEBUG raft: failed to heartbeat to", "DEBUG raft: entering"} {
		if log.count(want) != 1 {
			t.Errorf("%q was not logged", want)
		}
	}
	if bridge.GetLevel() != hclog.Trace || !bridge.IsTrace() {
		t.Error("level")
	}
}
