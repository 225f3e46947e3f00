package master

import (
	"context"
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"weed/internal/blob"
	"weed/master/state"
)

// localKeys is a lease on a state machine without Raft.
func localKeys(t interface{ Cleanup(func()) }) (*keyLease, *state.Machine) {
	var all jobs
	machine := state.New()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); all.close() })
	k := newKeyLease(ctx, &all, machine, nil)
	k.lease = func(_ context.Context, count uint64) (state.KeyRange, error) {
		return state.LeaseKeys(count).Result(machine.Apply(state.LeaseKeys(count).Bytes()))
	}
	k.lift = func(_ context.Context, above blob.Key) error {
		_, err := state.RaiseKeys(above).Result(machine.Apply(state.RaiseKeys(above).Bytes()))
		return err
	}
	return k, machine
}

func TestKeysAreTakenOnceByMany(t *testing.T) {
	k, _ := localKeys(t)
	const takers, each = 8, 40_000
	taken := make([][]blob.Key, takers)
	var wg sync.WaitGroup
	for i := range takers {
		wg.Go(func() {
			for range each {
				key, err := k.take(1)
				if err != nil {
					t.Error(err)
					return
				}
				taken[i] = append(taken[i], key)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			if err := k.raise(blob.Key(k.current.Load().next.Load() + 1000)); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	seen := make(map[blob.Key]bool, takers*each)
	for _, keys := range taken {
		for _, key := range keys {
			if seen[key] {
				t.Fatalf("key %d twice", key)
			}
			seen[key] = true
		}
	}
}

// Whatever the order of takes and reports, no key is handed out twice, nor one that was reported before.
func TestKeysProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k, machine := localKeys(rt)
		taken := map[blob.Key]bool{}
		var floor blob.Key
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "take") {
				n := rapid.SampledFrom([]uint64{1, 1, 7, 5000, keyBlock / 4, keyBlock/4 + 1, 3 * keyBlock}).Draw(rt, "count")
				first, err := k.take(n)
				if err != nil {
					rt.Fatal(err)
				}
				for i := range n {
					key := first + blob.Key(i)
					if taken[key] || key <= floor || key > machine.LastKey() {
						rt.Fatalf("key %d: taken before %v, reported up to %d, leased up to %d", key, taken[key], floor, machine.LastKey())
					}
					if i < 8 || i+8 > n { // the ends are enough
						taken[key] = true
					}
				}
				continue
			}
			above := rapid.SampledFrom([]blob.Key{0, 1, 100, keyBlock - 1, keyBlock, keyBlock + 1, 1 << 18, 1<<63 - 1<<20, 1 << 63}).Draw(rt, "above")
			if rapid.Bool().Draw(rt, "near") {
				above = blob.Key(k.current.Load().frontier()) + above%100_000
			}
			if above >= 1<<62 && above <= state.MaxKey {
				continue // would use the sequence up
			}
			if err := k.raise(above); err != nil {
				rt.Fatal(err)
			}
			if above <= state.MaxKey {
				floor = max(floor, above)
			}
		}
	})
}

func TestKeysEndWithTheTerm(t *testing.T) {
	k, _ := localKeys(t)
	broken := errors.New("no majority")
	lease := k.lease
	k.lease = func(context.Context, uint64) (state.KeyRange, error) { return state.KeyRange{}, broken }
	if _, err := k.take(1); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	k.lease = lease
	if key, err := k.take(1); err != nil || key != 1 {
		t.Fatal("a failed lease must not stay in the way:", key, err)
	}
	k.refills.jobs.close()
	if _, err := k.take(keyBlock / 4); err != nil {
		t.Fatal(err) // from the block that is left
	}
	for range 4 {
		if _, err := k.take(keyBlock / 4); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("keys beyond the block of an ended term")
}
