package storage

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"weed/internal/vfs"
)

// FuzzFix: whatever the files hold, a rebuild leaves the log alone, accounts for every byte of it, and the volume opens
// with as many blobs as the rebuild has counted, or fewer if it is damaged.
func FuzzFix(f *testing.F) {
	for _, g := range goldenVolumes {
		files := g.files()
		f.Add(files["7.dat"], files["7.idx"], 0)
		f.Add(files["7.dat"], files["7.idx"][:16], len(files["7.dat"])/2)
	}
	f.Fuzz(func(t *testing.T, dat, idx []byte, flip int) {
		if flip >= 0 && flip < len(dat) {
			dat = bytes.Clone(dat)
			dat[flip] ^= 0x10
		}
		disk := volumeFiles{dat: dat, idx: idx}.disk(t)
		o := lockTestVolume(t, disk)
		fixed, err := o.Fix(ignoreProgress)
		if err = errors.Join(err, o.Close()); err != nil {
			return
		}
		if !bytes.Equal(readTestFile(t, disk, testBase+".dat"), dat) || fixed.LostBytes > fixed.LogBytes {
			t.Fatalf("%+v, or the log was changed", fixed)
		}
		s := openTestStore(t, disk, goldenConfig())
		defer closeStore(t, s)
		v, ok := s.Volume(7)
		if !ok {
			t.Fatal("it does not open")
		}
		if fixed.LostCount == 0 && v.Status().Live != fixed.Live {
			t.Fatalf("%d live, the rebuild found %d", v.Status().Live, fixed.Live)
		}
	})
}

// FuzzMirror: whatever a server sends, what is kept of it is a prefix that opens and is whole, or nothing.
func FuzzMirror(f *testing.F) {
	for _, g := range goldenVolumes {
		f.Add(g.files()["7.dat"], 0)
		f.Add(g.files()["7.dat"], 60)
	}
	f.Fuzz(func(t *testing.T, log []byte, flip int) {
		if flip >= 0 && flip < len(log) {
			log = bytes.Clone(log)
			log[flip] ^= 0x10
		}
		disk := vfs.NewMem()
		done, err := updateMirror(disk, &RemoteLog{Length: int64(len(log)), Read: func(p []byte, offset int64) error {
			if offset+int64(len(p)) > int64(len(log)) {
				return os.ErrInvalid
			}
			copy(p, log[offset:])
			return nil
		}})
		if err != nil {
			if _, statErr := disk.Stat(mirrorDir + "/7.dat"); statErr == nil {
				t.Fatalf("a copy is in place after %v", err)
			}
			return
		}
		if got := readTestFile(t, disk, mirrorDir+"/7.dat"); !bytes.Equal(got, log) || done.Length != int64(len(log)) {
			t.Fatalf("%d bytes of %d, %+v", len(got), len(log), done)
		}
	})
}
