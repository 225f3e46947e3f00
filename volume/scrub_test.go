package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weed/internal/blob"
	"weed/internal/vfs"
	"weed/storage"
)

// shelf is a scrubTarget without other copies.
type shelf struct {
	*storage.Store
	mu   sync.Mutex // guards what follows
	seen []string   // volume and time of each pass
	from time.Time
	away map[blob.VolumeID]bool
}

func (s *shelf) scrubVolumes() (ids []blob.VolumeID) {
	for _, v := range s.Volumes() {
		ids = append(ids, v.ID)
	}
	return ids
}

func (s *shelf) scrubExtent(id blob.VolumeID) (*storage.Volume, string, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf("%d after %s", id, time.Since(s.from)))
	if s.away[id] {
		return nil, "", 0, errUnsettled
	}
	v, _ := s.Volume(id)
	return v, generation(v.Origin()), v.SizeBytes(), nil
}

func (s *shelf) passes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *shelf) mend(*storage.Volume, int64, int64) error { return errNoOtherCopy }
func (s *shelf) mendRest(*storage.Volume, storage.RestBlock) (int, error) {
	return 0, nil
}
func (s *shelf) compareSums(*storage.Volume, func(storage.RestBlock)) int { return 0 }
func (s *shelf) healed(*storage.Volume, int64)                            {}

// threeVolumes is a disk with volumes 1 to 3 of about a MB.
func threeVolumes(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	store, err := storage.OpenStore(disk, []storage.Directory{{Path: "/d", MaxVolumes: 9}}, storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range blob.VolumeID(3) {
		v, err := store.Create(id+1, "", blob.Placement{}, blob.TTL{})
		if err != nil {
			t.Fatal(err)
		}
		for key := range blob.Key(10) {
			if err := v.Put(&storage.Needle{Key: key + 1, Data: []byte(noise(100_000, uint32(key)))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

// onShelf starts a scrubber of a disk's volumes, which stop ends. It is called where the clock only moves when all wait.
func onShelf(t *testing.T, disk *vfs.Mem, rate int64) (s *shelf, scrub *scrubber, stop func()) {
	t.Helper()
	store, err := storage.OpenStore(disk, []storage.Directory{{Path: "/d", MaxVolumes: 9}}, storage.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s = &shelf{Store: store, from: time.Now(), away: map[blob.VolumeID]bool{}}
	scrub = newScrubber(s, rate, 24*time.Hour, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { scrub.run(ctx) })
	return s, scrub, func() {
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestScrubKeepsToItsRate(t *testing.T) {
	disk := threeVolumes(t)
	synctest.Test(t, func(t *testing.T) {
		s, scrub, stop := onShelf(t, disk, 10_000) // the first MB is read at once, each further one takes 100 s
		defer stop()
		for volumes, at := range []time.Duration{0, 90 * time.Second, 190 * time.Second, 290 * time.Second, time.Hour} {
			time.Sleep(at - time.Since(s.from))
			synctest.Wait()
			volumes = min(max(volumes, 1), 3)
			if n := int(scrub.bytes.Load()); n < volumes*1_000_000 || n > volumes*1_010_000 {
				t.Errorf("%d bytes after %v", n, at)
			}
		}
		if status := scrub.status(0); len(s.passes()) != 3 || len(status.Volumes) != 3 || status.Reading != 0 {
			t.Errorf("%v, %+v", s.passes(), status)
		}
	})
}

func TestScrubComesOnceADay(t *testing.T) {
	disk := threeVolumes(t)
	synctest.Test(t, func(t *testing.T) {
		s, scrub, stop := onShelf(t, disk, 10<<20)
		defer stop()
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if n := len(s.passes()); n != 3 {
			t.Errorf("%d passes in a day, want one of each volume", n)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := len(s.passes()); n != 6 {
			t.Errorf("%d passes in the second day", n-3)
		}
		scrub.order(2)
		time.Sleep(time.Minute)
		synctest.Wait()
		if seen := s.passes(); len(seen) != 7 || seen[6] != "2 after 25h0m0s" {
			t.Errorf("%v", seen)
		}
		// A new volume does not wait for the next day, one that is gone is forgotten.
		if _, err := s.Create(8, "", blob.Placement{}, blob.TTL{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(1, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		status := scrub.status(0)
		if len(s.passes()) != 8 || len(status.Volumes) != 3 || status.Volumes[2].ID != 8 || status.Volumes[2].FinishedAtSecond == 0 {
			t.Errorf("%v, %+v", s.passes(), status)
		}
	})
}

func TestScrubOnOrderOnly(t *testing.T) {
	disk := threeVolumes(t)
	synctest.Test(t, func(t *testing.T) {
		s, scrub, stop := onShelf(t, disk, 0)
		defer stop()
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		if seen := s.passes(); len(seen) > 0 {
			t.Errorf("not ordered: %v", seen)
		}
		scrub.order(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if seen := s.passes(); len(seen) != 3 {
			t.Errorf("%v", seen)
		}
	})
}

// A copy that is not in touch with the others is left for later, and one that was ordered says why.
func TestScrubOfACopyThatIsAway(t *testing.T) {
	disk := threeVolumes(t)
	synctest.Test(t, func(t *testing.T) {
		s, scrub, stop := onShelf(t, disk, 10<<20)
		defer stop()
		s.mu.Lock()
		s.away[2] = true
		s.mu.Unlock()
		time.Sleep(5 * time.Minute)
		scrub.order(2)
		synctest.Wait()
		status := scrub.status(2)
		if len(status.Volumes) != 1 || status.Volumes[0].Pending || status.Volumes[0].Error == "" || status.Volumes[0].FinishedAtSecond != 0 {
			t.Errorf("%+v", status)
		}
		s.mu.Lock()
		s.away[2] = false
		s.mu.Unlock()
		time.Sleep(scrubRetry + scrubLook)
		synctest.Wait()
		if v := scrub.status(2).Volumes[0]; v.Error != "" || v.FinishedAtSecond == 0 {
			t.Errorf("%+v", v)
		}
	})
}

// Whoever stops the server does not wait for a slow scrub.
func TestScrubEndsAtOnce(t *testing.T) {
	disk := threeVolumes(t)
	synctest.Test(t, func(t *testing.T) {
		s, scrub, stop := onShelf(t, disk, 1)
		synctest.Wait()
		if status := scrub.status(0); status.Reading != 2 {
			t.Errorf("%+v", status)
		}
		stop()
		if took := time.Since(s.from); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPacerSharesTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pacer{bytesPerSecond: 1000}
		from := time.Now()
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for range 25 {
					if err := p.wait(t.Context(), 100); err != nil {
						t.Error(err)
					}
				}
			})
		}
		readers.Wait()
		if took := time.Since(from); took < 9*time.Second || took > 10*time.Second {
			t.Errorf("10000 bytes in %v", took)
		}
		time.Sleep(time.Hour) // does not allow a burst
		from = time.Now()
		for range 11 {
			_ = p.wait(t.Context(), 100)
		}
		if took := time.Since(from); took != time.Second {
			t.Errorf("after a rest 1100 bytes took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx, 100); !errors.Is(err, context.Canceled) {
			t.Errorf("not ended: %v", err)
		}
	})
}
