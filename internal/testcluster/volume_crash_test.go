package testcluster_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"weed/internal/blob"
	"weed/internal/testcluster"
)

const (
	crashes      = 10
	crashWriters = 16
	acksPerCrash = 150
)

// TestVolumeServerKilled kills a volume server again and again while 16 writers put, overwrite, delete and
// read. Nothing that was acknowledged is lost, nothing deleted comes back, and nothing is read that was not
// written. The log and the index that are left say the same, byte by byte.
func TestVolumeServerKilled(t *testing.T) {
	t.Parallel()
	for _, fsync := range []string{"always", "never"} {
		t.Run(fsync, func(t *testing.T) {
			c := testcluster.New(t)
			c.StartMaster()
			v := c.StartVolume("-fsync="+fsync, "-concurrentUploadLimitMB=64", "-fileSizeLimitMB=32")
			c.WaitWritable()

			l := newLedger(t, c)
			ctx, stop := context.WithCancel(t.Context())
			finished := make(chan struct{})
			go func() {
				defer close(finished)
				l.run(ctx, crashWriters)
			}()
			for range crashes {
				goal := l.acked.Load() + acksPerCrash
				testcluster.WaitFor(t, "writes go on", func() error { return atLeast(l.acked.Load(), goal) })
				v.Kill()
				v.Restart()
			}
			goal := l.acked.Load() + acksPerCrash
			testcluster.WaitFor(t, "writes go on", func() error { return atLeast(l.acked.Load(), goal) })
			stop()
			<-finished
			l.verify(t)

			if code := v.Term(); code != 0 {
				t.Errorf("exit code %d after SIGTERM", code)
			}
			compareWithScan(t, l, v.Dir)
			v.Restart()
			l.verify(t)
		})
	}
}

func atLeast(n, goal int64) error {
	if n < goal {
		return fmt.Errorf("%d of %d acknowledged", n, goal)
	}
	return nil
}

// compareWithScan finds every blob in the files as the ledger wants it, and nothing else.
func compareWithScan(t *testing.T, l *ledger, dir string) {
	t.Helper()
	volumes := scanDir(t, dir)
	for _, e := range l.entries {
		f, err := blob.ParseFileID(e.fid)
		if err != nil {
			t.Fatal(err)
		}
		n, ok := volumes[uint32(f.Volume)][uint64(f.Key)]
		switch {
		case !ok && !slices.Contains(e.possible, absent):
			t.Errorf("%s is not in the log; possible are the versions %v", e.fid, e.possible)
		case ok && !e.may(n.data):
			t.Errorf("%s has %d bytes in the log that are none of the versions %v", e.fid, len(n.data), e.possible)
		case ok && n.cookie != uint32(f.Cookie):
			t.Errorf("%s has the cookie %08x in the log", e.fid, n.cookie)
		}
		delete(volumes[uint32(f.Volume)], uint64(f.Key))
	}
	for id, alive := range volumes {
		for key := range alive {
			t.Errorf("volume %d has key %x that nobody wrote", id, key)
		}
	}
}
