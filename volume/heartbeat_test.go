package volume

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/wire"
)

// anyBeat accepts every heartbeat.
func anyBeat(wire.Heartbeat) bool { return true }

func volumesOf(b wire.Heartbeat) map[uint32]wire.VolumeInfo {
	m := map[uint32]wire.VolumeInfo{}
	for _, v := range b.Volumes {
		m[v.ID] = v
	}
	return m
}

func TestHeartbeatsTellEverythingThenWhatChanges(t *testing.T) {
	n := run(t, func(c *Config) {
		c.URL, c.PublicURL, c.DataCenter, c.Rack, c.Pulse = "a:1", "b:2", "dc1", "r1", time.Hour
	})
	first, at := n.master.await(t, 0, anyBeat)
	if !first.Full || first.Sequence != 1 || len(first.Volumes) != 0 || first.Max != 7 || first.URL != "a:1" || first.PublicURL != "b:2" ||
		first.DataCenter != "dc1" || first.Rack != "r1" || first.Incarnation == 0 {
		t.Fatalf("the first heartbeat is %+v", first)
	}
	eventually(t, "the server is ready", func() bool { return n.get("/readyz").StatusCode == 200 })

	// The pulse is an hour: what comes now comes because of the volume.
	n.create(3, "pics")
	second, at := n.master.await(t, at+1, anyBeat)
	if v := volumesOf(second)[3]; second.Full || second.Sequence != 2 || v.Collection != "pics" || v.ReadOnly || second.Incarnation != first.Incarnation {
		t.Fatalf("the heartbeat after a create is %+v", second)
	}
	n.create(4, "")
	third, at := n.master.await(t, at+1, anyBeat)
	if len(third.Volumes) != 1 || third.Volumes[0].ID != 4 || len(third.Gone) != 0 {
		t.Fatalf("the heartbeat after another create is %+v", third)
	}
	n.do("POST", wire.PathVolumeMark, `{"id":4,"readOnly":true}`).want(200)
	marked, at := n.master.await(t, at+1, anyBeat)
	if v := volumesOf(marked)[4]; !v.ReadOnly || len(marked.Volumes) != 1 {
		t.Fatalf("the heartbeat after a mark is %+v", marked)
	}
	n.do("POST", wire.PathVolumeDelete, `{"id":3,"collection":"pics"}`).want(200)
	gone, at := n.master.await(t, at+1, anyBeat)
	if len(gone.Volumes) != 0 || fmt.Sprint(gone.Gone) != "[3]" {
		t.Fatalf("the heartbeat after a delete is %+v", gone)
	}

	n.stop()
	bye, at := n.master.await(t, at+1, anyBeat)
	if !bye.Leaving || bye.Sequence != gone.Sequence+1 || n.master.count() != at+1 {
		t.Fatalf("the last heartbeat is %+v", bye)
	}
}

// A report that is asked for tells all that was done before, and is answered when it was heard.
func TestReportNow(t *testing.T) {
	n := run(t, func(c *Config) { c.Pulse = time.Hour })
	n.create(3, "")
	n.put(fid, "x")
	_, at := n.master.await(t, 0, func(b wire.Heartbeat) bool { return len(b.Volumes) == 1 })
	for at+1 < n.master.count() {
		at++
	}
	n.do("DELETE", fid, "").want(202)
	n.do("POST", wire.PathVolumeReport, "{}").want(200)
	heard := n.master.count()
	told, last := n.master.await(t, at+1, func(b wire.Heartbeat) bool { return volumesOf(b)[3].DeleteCount == 1 })
	if last >= heard {
		t.Errorf("it was answered before heartbeat %d, at %d: %+v", last, heard, told)
	}
	n.do("GET", wire.PathVolumeReport, "").want(405)
}

func TestHeartbeatsFollowThePulseOfTheMaster(t *testing.T) {
	master := newFakeMaster(t)
	master.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) { return wire.HeartbeatReply{PulseMillis: 5}, 200 })
	n := start(t, func(c *Config) { c.Masters, c.Pulse = []string{master.addr()}, time.Hour })
	_, at := master.await(t, 0, func(b wire.Heartbeat) bool { return len(b.Volumes) == 1 })
	n.put(fid, "0123456789")
	// What a put changes is told with the next pulse, and then no more.
	_, at = master.await(t, at+1, func(b wire.Heartbeat) bool { return volumesOf(b)[3].FileCount == 1 && volumesOf(b)[3].MaxKey == 1 })
	if quiet, _ := master.await(t, at+1, anyBeat); len(quiet.Volumes) != 0 || quiet.Full {
		t.Errorf("nothing changed, but the heartbeat is %+v", quiet)
	}
}

func TestHeartbeatsAreResentInFull(t *testing.T) {
	master := newFakeMaster(t)
	n := start(t, func(c *Config) { c.Masters, c.Pulse = []string{master.addr()}, 5*time.Millisecond })
	_, at := master.await(t, 0, func(b wire.Heartbeat) bool { return !b.Full && len(b.Volumes) == 0 && b.Sequence > 1 })
	// A master that was restarted knows nothing.
	known := false
	master.answer(func(b wire.Heartbeat) (wire.HeartbeatReply, int) {
		known = known || b.Full
		return wire.HeartbeatReply{Resend: !known}, 200
	})
	full, at := master.await(t, at+1, func(b wire.Heartbeat) bool { return b.Full })
	if len(full.Volumes) != 1 {
		t.Fatalf("the full heartbeat is %+v", full)
	}
	// One that fails may have taken the heartbeat in or not, so it hears everything again.
	fail := true
	master.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		if fail {
			fail = false
			return wire.HeartbeatReply{}, 500
		}
		return wire.HeartbeatReply{}, 200
	})
	_, at = master.await(t, at+1, func(b wire.Heartbeat) bool { return b.Full })
	master.await(t, at+1, func(b wire.Heartbeat) bool { return !b.Full })
	eventually(t, "the server is ready again", func() bool { return n.get("/readyz").StatusCode == 200 })
}

func TestHeartbeatsGoToTheLeader(t *testing.T) {
	follower, leader := newFakeMaster(t), newFakeMaster(t)
	follower.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{Leader: leader.addr()}, 200
	})
	n := start(t, func(c *Config) { c.Masters, c.Pulse = []string{follower.addr(), leader.addr()}, 5*time.Millisecond })
	_, at := leader.await(t, 0, func(b wire.Heartbeat) bool { return b.Full })
	_, at = leader.await(t, at+1, func(b wire.Heartbeat) bool { return !b.Full })
	asked := follower.count()
	leader.await(t, at+1, anyBeat)
	if follower.count() != asked {
		t.Error("the follower is still asked")
	}
	// The roles change. Then the leader goes away altogether.
	follower.answer(nil)
	leader.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{Leader: follower.addr()}, 200
	})
	full, at := follower.await(t, asked, func(b wire.Heartbeat) bool { return b.Full })
	if len(full.Volumes) != 1 {
		t.Fatalf("the new leader hears %+v", full)
	}
	follower.await(t, at+1, func(b wire.Heartbeat) bool { return !b.Full })
	leader.answer(nil)
	at = leader.count()
	follower.Close()
	leader.await(t, at, func(b wire.Heartbeat) bool { return b.Full && len(b.Volumes) == 1 })
	eventually(t, "the server is ready", func() bool { return n.get("/readyz").StatusCode == 200 })
}

// A master that hangs is left after a pulse: the one that leads meanwhile must not take this server for silent.
func TestHeartbeatsLeaveAMasterThatHangs(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0") // whoever connects waits for ever
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	next := newFakeMaster(t)
	began := time.Now()
	n := run(t, func(c *Config) { c.Masters, c.Pulse = []string{hung.Addr().String(), next.addr()}, 5*time.Millisecond })
	next.await(t, 0, func(b wire.Heartbeat) bool { return b.Full })
	if took := time.Since(began); took > maxBeatTimeout/2 {
		t.Errorf("left after %v", took)
	}
	eventually(t, "the server is ready", func() bool { return n.get("/readyz").StatusCode == 200 })
}

// A server that is told of one master learns of the others, and turns to them when that one is gone.
func TestHeartbeatsLearnOfMasters(t *testing.T) {
	first, second := newFakeMaster(t), newFakeMaster(t)
	first.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{Leader: first.addr(), Masters: []string{first.addr(), second.addr()}}, 200
	})
	start(t, func(c *Config) { c.Masters, c.Pulse = []string{first.addr()}, 5*time.Millisecond })
	first.await(t, 0, func(b wire.Heartbeat) bool { return !b.Full })
	first.Close()
	second.await(t, 0, func(b wire.Heartbeat) bool { return b.Full && len(b.Volumes) == 1 })
}

// Two masters that each take the other for the leader must not be flooded.
func TestHeartbeatsDoNotRace(t *testing.T) {
	a, b := newFakeMaster(t), newFakeMaster(t)
	a.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) { return wire.HeartbeatReply{Leader: b.addr()}, 200 })
	b.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) { return wire.HeartbeatReply{Leader: a.addr()}, 200 })
	began := time.Now()
	n := run(t, func(c *Config) { c.Masters, c.Pulse = []string{a.addr(), b.addr()}, time.Hour })
	a.await(t, 0, func(b wire.Heartbeat) bool { return b.Sequence >= 3 })
	if took := time.Since(began); took < retryDelay {
		t.Errorf("three heartbeats within %v", took)
	}
	n.get("/readyz").want(503)
}

func TestNoMasterAnswers(t *testing.T) {
	master := newFakeMaster(t)
	addr := master.addr()
	master.Close()
	n := start(t, func(c *Config) { c.Masters = []string{addr} })
	n.get("/healthz").want(200)
	n.get("/readyz").want(503).says("-mserver")
	n.put(fid, "served all the same")
	n.get(fid).want(200).is("served all the same")
}

// lines tells of what is logged, line by line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // nobody reads that far
	}
	return len(p), nil
}

// A master that refuses this server for good says why, and so does the log; it is not said to be away.
func TestRefusalsAreLogged(t *testing.T) {
	master, log := newFakeMaster(t), make(lines, 100)
	master.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) { return wire.HeartbeatReply{}, 409 })
	start(t, func(c *Config) {
		c.Masters, c.Pulse = []string{master.addr()}, 10*time.Millisecond
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	master.await(t, 3, anyBeat)
	refusals := 0
	for len(log) > 0 {
		line := <-log
		if strings.Contains(line, "master refuses this server") && strings.Contains(line, "level=ERROR") {
			refusals++
		} else if strings.Contains(line, "does not answer") {
			t.Error(line)
		}
	}
	if refusals != 1 {
		t.Errorf("%d refusals are logged, want the first", refusals)
	}
}

// A new key that no master can have given out is refused: the sequence of keys would rise above it and be used up.
func TestKeysThatNobodyGaveOut(t *testing.T) {
	master := newFakeMaster(t)
	var last atomic.Uint64
	master.answer(func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{PulseMillis: 5, LastKey: last.Load()}, 200
	})
	n := start(t, func(c *Config) { c.Masters, c.Pulse = []string{master.addr()}, time.Hour })
	const far, farther, near = "/3,7ffffffffffffff0637037d6", "/3,7ffffffffffffff1637037d6", "/3,0100000000637037d6"
	n.put(far, "from another system").want(201)
	last.Store(1000)
	for _, at := master.await(t, 0, anyBeat); n.Server.beat.lastKey.Load() == 0; {
		_, at = master.await(t, at+1, anyBeat)
	}
	n.do("PUT", farther, "x").want(400).says("no master has given out this key")
	n.do("PUT", "/3,7fffffffffffffff637037d6", "x").want(400)
	n.get(farther).want(404)
	n.put(far, "again").want(201)
	n.put(near, "x").want(201)
	n.put(fid, "x").want(201)
}

// A copy that learns its epoch tells so at once: after a restart the master assigns nothing to it before.
func TestHeartbeatsTellOfAnEpochAtOnce(t *testing.T) {
	master := newFakeMaster(t)
	const url = "a:1"
	master.answer(func(b wire.Heartbeat) (wire.HeartbeatReply, int) {
		var reply wire.HeartbeatReply
		for _, v := range b.Volumes {
			if v.CopyEpoch == 0 {
				reply.Configs = append(reply.Configs, wire.VolumeConfig{ID: v.ID, Epoch: 7, Primary: url, Members: []string{url}, Copies: 1})
			}
		}
		return reply, 200
	})
	start(t, func(c *Config) { c.URL, c.Masters, c.Pulse = url, []string{master.addr()}, time.Hour })
	_, at := master.await(t, 0, func(b wire.Heartbeat) bool { return len(b.Volumes) == 1 && b.Volumes[0].CopyEpoch == 0 })
	master.await(t, at+1, func(b wire.Heartbeat) bool {
		return len(b.Volumes) == 1 && b.Volumes[0].CopyEpoch == 7 && b.Volumes[0].InSync
	})
}
