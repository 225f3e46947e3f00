package volume

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"weed/internal/vfs"
	"weed/internal/wire"
	"weed/storage"
)

// limited answers heartbeats with a size limit of volumes.
func limited(bytes uint64) func(wire.Heartbeat) (wire.HeartbeatReply, int) {
	return func(wire.Heartbeat) (wire.HeartbeatReply, int) {
		return wire.HeartbeatReply{VolumeSizeLimitBytes: bytes}, http.StatusOK
	}
}

// TestFullVolume: at the master's size limit puts are refused, overwrites too, deletes go on, and the reason
// stands wherever one looks; also without a master, and from the first request after a restart on.
func TestFullVolume(t *testing.T) {
	disk, dir := vfs.NewMem(), []storage.Directory{{Path: "/data", MaxVolumes: 7}}
	master := newFakeMaster(t)
	master.answer(limited(10_000))
	n := start(t, func(c *Config) {
		c.FS, c.Dirs, c.Masters, c.Pulse = disk, dir, []string{master.addr()}, time.Hour
	})
	eventually(t, "the limit is known", func() bool { return n.store.SizeLimitBytes() == 10_000 })
	_, at := master.await(t, 0, func(b wire.Heartbeat) bool { return len(b.Volumes) == 1 })
	n.put(fid, noise(5000, 1))
	n.put("/3,02637037d6", noise(5000, 2))
	// The pulse is an hour: the master hears of it because it matters.
	full, _ := master.await(t, at+1, func(b wire.Heartbeat) bool { return volumesOf(b)[3].ReadOnly })
	if v := volumesOf(full)[3]; v.SizeBytes < 10_000 || v.ReadOnlyReason != "full" {
		t.Fatalf("the master hears %+v", v)
	}
	master.Close()
	n.put("/3,04637037d6", "assigned before the master knew")
	eventually(t, "a full volume takes no puts", func() bool { return n.do("PUT", "/3,04637037d6", "x").StatusCode == 503 })
	for range 2 {
		for _, path := range []string{fid, "/3,03637037d6"} {
			for _, method := range []string{"PUT", "POST"} {
				if a := n.do(method, path, "x").want(503).says("the volume is full"); a.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
		}
		n.upload(fid, "a.txt", "x").want(503)
		n.get(fid).want(200).is(noise(5000, 1))
		n.get("/status").want(200).says(`"ReadOnly":true,"ReadOnlyReason":"full"`)
		n.get("/metrics").want(200).says(`weed_volume_volumes{state="readonly"} 1`)
		n.stop()
		n = run(t, func(c *Config) { c.FS, c.Dirs, c.Masters = disk, dir, []string{master.addr()} })
	}
	n.do("DELETE", "/3,02637037d6", "").want(202)
	n.get("/3,02637037d6").want(404)
	// What an operator orders is one thing, the size another.
	mark := func(on bool) *answer {
		t.Helper()
		return n.do("POST", wire.PathVolumeMark, fmt.Sprintf(`{"id":3,"readOnly":%v}`, on)).want(200)
	}
	mark(true).says(`"ReadOnlyReason":"marked by the operator, full"`)
	n.do("PUT", fid, "x").want(503).says("marked by the operator, full")
	n.do("DELETE", fid, "").want(503).says("marked by the operator")
	mark(false).says(`"ReadOnly":true,"ReadOnlyReason":"full"`)
	n.do("PUT", fid, "x").want(503).says("full")
	n.stop()

	again := newFakeMaster(t)
	again.answer(limited(1 << 30))
	n = run(t, func(c *Config) { c.FS, c.Dirs, c.Masters = disk, dir, []string{again.addr()} })
	eventually(t, "a higher limit opens it", func() bool { return n.do("PUT", fid, "x").StatusCode == 201 })
}

// TestRefusalsComeAfterTheMasterKnows: whoever is refused and asks the master at once is not sent here again.
func TestRefusalsComeAfterTheMasterKnows(t *testing.T) {
	disk := vfs.NewMem()
	n := start(t, func(c *Config) { c.FS, c.Pulse, c.Fsync = disk, time.Hour, storage.SyncAlways })
	n.failsToClose = true
	eventually(t, "the server is ready", func() bool { return n.get("/readyz").StatusCode == 200 })
	n.put(fid, "kept")
	_, at := n.master.await(t, 0, func(b wire.Heartbeat) bool { return len(b.Volumes) == 1 })
	eventually(t, "the answer has come", func() bool { return len(*n.beat.known.Load()) == 1 })
	known := func() bool {
		n.master.mu.Lock()
		defer n.master.mu.Unlock()
		for _, b := range n.master.beats[at+1:] {
			if volumesOf(b)[3].ReadOnly {
				return true
			}
		}
		return false
	}
	disk.SetFault(func(op vfs.Op) error {
		if op.Is("3.dat", vfs.OpSync) {
			return syscall.EIO
		}
		return nil
	})
	n.do("PUT", fid, "lost").want(500)
	if !known() {
		t.Error("a put failed before the master knew that the volume takes none any more")
	}
	disk.SetFault(nil)
	before := n.master.count()
	n.do("PUT", fid, "refused").want(503).says("damaged")
	if n.master.count() != before {
		t.Error("what the master knows is told again")
	}
}

// TestSilentMastersDoNotHideAFullDisk: the room is looked at while a heartbeat waits for its answer.
func TestSilentMastersDoNotHideAFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	master := newFakeMaster(t)
	hang := make(chan struct{})
	hung := false
	master.answer(func(b wire.Heartbeat) (wire.HeartbeatReply, int) {
		if len(b.Volumes) > 0 && !hung {
			hung = true
			<-hang
		}
		return wire.HeartbeatReply{}, http.StatusOK
	})
	n := start(t, func(c *Config) {
		c.FS, c.Masters, c.Pulse, c.MinFreePercent = disk, []string{master.addr()}, 10*time.Millisecond, 10
	})
	defer close(hang)
	n.put(fid, noise(10_000, 1))
	usage, err := disk.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity((usage.TotalBytes - usage.FreeBytes) * 100 / 95)
	eventually(t, "puts are refused", func() bool {
		a, err := n.try("PUT", fid, strings.NewReader("x"))
		return err == nil && a.StatusCode == 507
	})
}

// TestNoRoomAtTheStart: the first put finds the disk as low as it is.
func TestNoRoomAtTheStart(t *testing.T) {
	disk, dir := vfs.NewMem(), []storage.Directory{{Path: "/data", MaxVolumes: 7}}
	n := start(t, func(c *Config) { c.FS, c.Dirs = disk, dir })
	n.put(fid, noise(10_000, 1))
	n.stop()
	usage, err := disk.Usage("/data")
	if err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity((usage.TotalBytes - usage.FreeBytes) * 100 / 95)
	n = run(t, func(c *Config) { c.FS, c.Dirs, c.MinFreePercent, c.Pulse = disk, dir, 10, time.Hour })
	n.do("PUT", fid, "x").want(507).says("disk is full")
	n.get("/status").says(`"ReadOnlyReason":"no space left on the disk"`)
}
