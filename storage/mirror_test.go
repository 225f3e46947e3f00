package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

const mirrorDir = "/m"

// mirrored is a volume 7 of another disk, as a remote log.
type mirrored struct {
	v *Volume
	s *Store
}

func newMirrored(t testing.TB) *mirrored {
	t.Helper()
	s, v := createTestVolume(t, vfs.NewMem(), Config{})
	return &mirrored{v, s}
}

func (m *mirrored) log() *RemoteLog {
	return &RemoteLog{Length: m.v.SizeBytes(), Read: func(p []byte, offset int64) error {
		if len(p) > MaxRemoteRead || offset+int64(len(p)) > m.v.SizeBytes() {
			return fmt.Errorf("%d bytes at %d are asked for", len(p), offset)
		}
		_, err := m.v.ReadFile(offset, p)
		return err
	}}
}

// fill puts keys from to below to, and deletes every fifth of them.
func (m *mirrored) fill(t testing.TB, from, to blob.Key) {
	t.Helper()
	for key := from; key < to; key++ {
		mustPut(t, m.v, key, payload(uint64(key), 300))
		if key%5 == 0 {
			mustDelete(t, m.v, key)
		}
	}
}

func updateMirror(disk vfs.FS, remote *RemoteLog) (Mirrored, error) {
	m, err := OpenMirror(disk, mirrorDir, "", 7, Config{})
	if err != nil {
		return Mirrored{}, err
	}
	done, err := m.Update(remote, func(int64) {})
	return done, errors.Join(err, m.Close())
}

func mustUpdate(t testing.TB, disk vfs.FS, remote *RemoteLog) Mirrored {
	t.Helper()
	done, err := updateMirror(disk, remote)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// wantServed opens the mirror as a server does: it must hold the first length bytes of the log, and be writable.
func (m *mirrored) wantServed(t testing.TB, disk *vfs.Mem, length int64) {
	t.Helper()
	image := disk.Image(vfs.LoseNothing, nil)
	s, err := OpenStore(image, []Directory{{Path: mirrorDir, MaxVolumes: 3}}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	v, ok := s.Volume(7)
	if !ok || v.SizeBytes() != length || v.ReadOnly() != 0 || v.foreign {
		t.Fatalf("served: %v; %+v, want %d bytes", ok, v, length)
	}
	if want := readTestFile(t, m.s.fs, testBase+".dat")[:length]; !bytes.Equal(readTestFile(t, image, mirrorDir+"/7.dat"), want) {
		t.Error("the log differs")
	}
	if length == m.v.SizeBytes() {
		for _, key := range liveKeys(m.v) {
			wantData(t, v, key, payload(uint64(key), 300))
		}
		if v.Status().Live != m.v.Status().Live {
			t.Errorf("%d blobs, want %d", v.Status().Live, m.v.Status().Live)
		}
	}
}

func TestMirror(t *testing.T) {
	m, disk := newMirrored(t), vfs.NewMem()
	m.fill(t, 1, 20)
	full := mustUpdate(t, disk, m.log())
	if !full.Full || full.Reason != "there was none" || full.Bytes != m.v.SizeBytes()-8 || full.Length != m.v.SizeBytes() {
		t.Errorf("%+v", full)
	}
	m.wantServed(t, disk, m.v.SizeBytes())
	before := m.v.SizeBytes()
	if err := m.v.Put(&Needle{Key: 100, Cookie: testCookie, Data: payload(100, 5_000_000)}); err != nil {
		t.Fatal(err)
	}
	m.fill(t, 20, 40)
	if done := mustUpdate(t, disk, m.log()); done.Full || done.Bytes != m.v.SizeBytes()-before {
		t.Errorf("%+v", done)
	}
	if _, err := disk.Stat(mirrorDir + "/7.dat" + partialSuffix); err == nil {
		t.Error("a partial copy is left")
	}
	mustDelete(t, m.v, 100)
	mustUpdate(t, disk, m.log())
	if done := mustUpdate(t, disk, m.log()); done.Full || done.Bytes != 0 {
		t.Errorf("nothing is new: %+v", done)
	}
	m.wantServed(t, disk, m.v.SizeBytes())
}

// TestMirrorReplaces lets the remote log be another one than before. Until its copy is whole the old copy stays.
func TestMirrorReplaces(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, old, next *mirrored)
		reason string
	}{
		{"compacted", func(t *testing.T, _, next *mirrored) {
			next.v.superblock.Revision = 1
			if _, err := next.v.dat().WriteAt([]byte{0, 1}, 4); err != nil {
				t.Fatal(err)
			}
		}, "the volume was compacted"},
		{"another volume of that id", func(*testing.T, *mirrored, *mirrored) {}, "the copy was of another log"},
		{"shorter", func(t *testing.T, old, next *mirrored) {
			b := make([]byte, old.v.SizeBytes())
			if _, err := old.v.ReadFile(0, b); err != nil {
				t.Fatal(err)
			}
			records := logRecords(Version3, b)
			end := records[len(records)-1].offset
			next.v.stats.length.Store(end)
			if _, err := next.v.dat().WriteAt(b[:end], 0); err != nil {
				t.Fatal(err)
			}
		}, "the copy was of another log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, next, disk := newMirrored(t), newMirrored(t), vfs.NewMem()
			old.fill(t, 1, 10)
			next.fill(t, 1, 9)
			mustUpdate(t, disk, old.log())
			c.change(t, old, next)
			remote := next.log()
			broken := *remote
			broken.Read = func(p []byte, offset int64) error {
				if offset == 8 && offset+int64(len(p)) == remote.Length {
					return syscall.ECONNRESET
				}
				return remote.Read(p, offset)
			}
			if _, err := updateMirror(disk, &broken); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			old.wantServed(t, disk, old.v.SizeBytes())
			if done := mustUpdate(t, disk, remote); !done.Full || done.Reason != c.reason {
				t.Errorf("%+v", done)
			}
			if got := readTestFile(t, disk, mirrorDir+"/7.dat"); int64(len(got)) != remote.Length {
				t.Errorf("%d bytes, want %d", len(got), remote.Length)
			}
		})
	}
}

// TestMirrorResumes breaks off a full copy in the middle, and goes on with it.
func TestMirrorResumes(t *testing.T) {
	m, disk := newMirrored(t), vfs.NewMem()
	for key := blob.Key(1); key <= 5; key++ {
		mustPut(t, m.v, key, payload(uint64(key), 700_000))
	}
	remote := m.log()
	broken := *remote
	broken.Read = func(p []byte, offset int64) error {
		if offset > 2<<20 {
			return syscall.ECONNRESET
		}
		return remote.Read(p, offset)
	}
	first, err := updateMirror(disk, &broken)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	second := mustUpdate(t, disk, remote)
	if first.Bytes < 2<<20 || second.Bytes > remote.Length-1_300_000 || !second.Full || second.Length != remote.Length {
		t.Errorf("%+v, then %+v, of %d bytes", first, second, remote.Length)
	}
	for key := blob.Key(6); key <= 9; key++ {
		mustPut(t, m.v, key, payload(uint64(key), 700_000))
	}
	remote = m.log()
	from := second.Length
	broken.Length = remote.Length
	broken.Read = func(p []byte, offset int64) error {
		if offset > from {
			return syscall.ECONNRESET
		}
		return remote.Read(p, offset)
	}
	if first, err = updateMirror(disk, &broken); err == nil || first.Bytes == 0 {
		t.Fatal(err)
	}
	if second = mustUpdate(t, disk, remote); second.Full || second.Bytes >= remote.Length-from {
		t.Errorf("%+v, of %d bytes", second, remote.Length-from)
	}
}

// TestMirrorVerifies lets bytes change on their way.
func TestMirrorVerifies(t *testing.T) {
	m, disk := newMirrored(t), vfs.NewMem()
	m.fill(t, 1, 10)
	mustUpdate(t, disk, m.log())
	whole := m.v.SizeBytes()
	m.fill(t, 10, 20)
	remote := m.log()
	bad := *remote
	bad.Read = func(p []byte, offset int64) error {
		err := remote.Read(p, offset)
		if offset >= whole {
			p[500] ^= 1
		}
		return err
	}
	var damage *CorruptError
	if _, err := updateMirror(disk, &bad); !errors.As(err, &damage) || damage.Offset < whole || damage.Offset > whole+500 {
		t.Fatal(err)
	}
	bad.Read, bad.Length = remote.Read, remote.Length-8 // the end of a record is missing
	if _, err := updateMirror(disk, &bad); !errors.As(err, &damage) {
		t.Fatal(err)
	}
	if done := mustUpdate(t, disk, remote); done.Full {
		t.Errorf("%+v", done)
	}
	m.wantServed(t, disk, m.v.SizeBytes())
}

// TestMirrorSparesVolumes backs up where a volume is that is no backup.
func TestMirrorSparesVolumes(t *testing.T) {
	m := newMirrored(t)
	m.fill(t, 1, 5)
	for _, g := range goldenVolumes {
		disk := vfs.NewMem()
		if err := disk.MkdirAll(mirrorDir, 0o755); err != nil {
			t.Fatal(err)
		}
		before := g.files()
		for _, ext := range []string{".dat", ".idx"} {
			if err := writeFileAtomic(disk, mirrorDir+"/7"+ext, before["7"+ext]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := updateMirror(disk, m.log()); !errors.Is(err, ErrNoBackup) {
			t.Errorf("%s: %v", g.name, err)
		}
		if !bytes.Equal(readTestFile(t, disk, mirrorDir+"/7.dat"), before["7.dat"]) || !bytes.Equal(readTestFile(t, disk, mirrorDir+"/7.idx"), before["7.idx"]) {
			t.Errorf("%s was changed", g.name)
		}
	}
}

// TestMirrorDamagedHere damages the copy: it is made anew, and not served damaged meanwhile.
func TestMirrorDamagedHere(t *testing.T) {
	m, disk := newMirrored(t), vfs.NewMem()
	m.fill(t, 1, 300)
	mustUpdate(t, disk, m.log())
	dat := readTestFile(t, disk, mirrorDir+"/7.dat")
	dat[len(dat)/2/prefixSamples*prefixSamples+1] ^= 1 // within a sample
	if err := writeFileAtomic(disk, mirrorDir+"/7.dat", dat); err != nil {
		t.Fatal(err)
	}
	if done := mustUpdate(t, disk, m.log()); !done.Full {
		t.Errorf("%+v", done)
	}
	m.wantServed(t, disk, m.v.SizeBytes())
}

// TestMirrorFails fails each disk operation of an update once, with a power cut after it: the directory holds the old
// copy or the new one or, of the same log, what lies between, and the next update gets on.
func TestMirrorFails(t *testing.T) {
	old, next := newMirrored(t), newMirrored(t)
	old.fill(t, 1, 8)
	next.fill(t, 1, 12)
	first := old.log()
	old.fill(t, 8, 12)
	for name, to := range map[string]*mirrored{"incremental": old, "full": next} {
		for n := 1; ; n++ {
			disk := vfs.NewMem()
			mustUpdate(t, disk, first)
			failing := disk.OpCount() + n
			disk.FailAt(failing, syscall.EIO)
			_, err := updateMirror(disk, to.log())
			disk.SetFault(nil)
			last := disk.OpCount() < failing
			if n > 100 {
				t.Fatal("no end of operations")
			}
			crashed := disk.Crash(vfs.LoseSome, rand.New(rand.NewPCG(uint64(n), 7)))
			checkMirrorKeys(t, fmt.Sprintf("%s, operation %d", name, n), crashed, first.Length, err == nil, to)
			mustUpdate(t, crashed, to.log())
			to.wantServed(t, crashed, to.v.SizeBytes())
			if last {
				break
			}
		}
	}
}

// checkMirrorKeys opens a mirror as a server does and looks at its blobs: those that both logs have must be there.
func checkMirrorKeys(t *testing.T, name string, disk *vfs.Mem, least int64, complete bool, to *mirrored) {
	t.Helper()
	image := disk.Image(vfs.LoseNothing, nil)
	s, err := OpenStore(image, []Directory{{Path: mirrorDir, MaxVolumes: 3}}, Config{})
	if err != nil {
		t.Fatal(name, err)
	}
	defer closeStore(t, s)
	v, ok := s.Volume(7)
	if !ok || v.SizeBytes() < least || v.ReadOnly() != 0 || complete && v.SizeBytes() != to.v.SizeBytes() {
		t.Fatalf("%s: served %v: %+v", name, ok, v)
	}
	for key := blob.Key(1); key < 8; key++ {
		var want []byte
		if key%5 != 0 {
			want = payload(uint64(key), 300)
		}
		wantData(t, v, key, want)
	}
}
