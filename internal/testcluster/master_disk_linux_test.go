package testcluster_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// TestMasterFullDisk fills the disk of a follower and then that of the leader. The others go on, no key is
// given twice, and when there is room again all agree.
func TestMasterFullDisk(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	places, list := testcluster.Peers(t, 3)
	disks := make(map[*testcluster.Server]string)
	for _, at := range places {
		disk := smallDisk(t, "size=8m")
		disks[c.StartMasterAt(at, "-peers="+list, "-mdir="+filepath.Join(disk, "m"))] = disk
	}
	c.WaitLeader(c.Masters...)
	c.StartVolume("-fsync=never", "-max=20")
	c.WaitWritable()
	// So many fids at once that every answer needs Raft.
	load := startLoad(t, 8, c.Masters, func(int) int { return 100_000 })
	load.waitMore(t, 50)
	var spans []span
	for _, leads := range []bool{false, true} {
		victim := c.WaitLeader(c.Masters...)
		if !leads {
			victim = c.Others(victim)[0]
		}
		filler := filepath.Join(disks[victim], "filler")
		full := time.Now()
		fill(t, filler)
		// There may be room within its files for a while.
		waitLog(t, victim.Process, "no space left on device")
		back := waitBack(t, time.Now(), c.Others(victim))
		load.waitMore(t, 100)
		spans = append(spans, span{full, time.Now()})
		t.Logf("full disk, leader %v: assigned %v after the first error", leads, back.Round(time.Millisecond))
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if ended(victim) { // it may end when it can't write; an operator starts it again
			victim.Restart()
		}
		c.WaitLeader(c.Masters...)
		load.waitMore(t, 50)
	}
	grants := load.stop(t)
	allThere(t, c.Masters, grants)
	for i, what := range []string{"a follower's disk full", "the leader's disk full"} {
		checkBack(t, what, []time.Duration{load.longestGap(spans[i].from, spans[i].to)}, backBound)
	}
}

// smallDisk mounts a file system of limited size.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, options); err != nil {
		t.Skipf("a small disk can't be mounted here (root is needed): %v", err)
	}
	t.Cleanup(func() { // after the servers have ended
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return disk
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
