package httpx

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A small one must not overtake a big one that waits.
func TestBudgetFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Hour)
		var first, big, small claim
		if err := b.extend(&first, 60); err != nil {
			t.Fatal(err)
		}
		var order []string
		go func() { _ = b.extend(&big, 90); order = append(order, "big"); b.release(big.held) }()
		synctest.Wait()
		go func() { _ = b.extend(&small, 20); order = append(order, "small") }()
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("%v went past", order)
		}
		b.release(60)
		synctest.Wait()
		if len(order) != 2 || order[0] != "big" {
			t.Errorf("order %v", order)
		}
		b.release(small.held)
		if b.InUse() != 0 || b.Waiting() != 0 {
			t.Errorf("%d bytes in use, %d waiting", b.InUse(), b.Waiting())
		}
	})
}

func TestBudgetWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, 2*time.Second)
		var c, d claim
		_ = b.extend(&c, 100)
		began := time.Now()
		if err := b.extend(&d, 1); !errors.Is(err, ErrBusy) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := b.extend(&d, 101); !errors.Is(err, ErrTooLarge) {
			t.Errorf("more than there is: %v", err)
		}
		b.release(c.held)
		if b.InUse() != 0 || b.Waiting() != 0 {
			t.Errorf("%d bytes in use, %d waiting", b.InUse(), b.Waiting())
		}
	})
}

// When bodies that have begun hold everything, the youngest goes and the oldest gets on, at once.
func TestBudgetBreaksTies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Hour)
		claims := make([]claim, 4)
		results := make([]error, 4)
		for i := range claims {
			claims[i].age = uint64(i + 1)
			if err := b.extend(&claims[i], 25); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		var wg sync.WaitGroup
		for _, i := range []int{3, 0, 2, 1} { // the order of asking does not matter
			wg.Go(func() {
				results[i] = b.extend(&claims[i], 50)
				b.release(claims[i].held)
			})
			synctest.Wait()
		}
		wg.Wait()
		if results[0] != nil || !errors.Is(results[3], ErrBusy) || !errors.Is(results[2], ErrBusy) {
			t.Errorf("results %v: want the two youngest to go", results)
		}
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
		if b.InUse() != 0 || b.Waiting() != 0 {
			t.Errorf("%d bytes in use, %d waiting", b.InUse(), b.Waiting())
		}
	})
}

// Many bodies of random sizes: never over the budget, never stuck, nothing lost.
func TestBudgetRandom(t *testing.T) {
	seed := rand.Uint64()
	synctest.Test(t, func(t *testing.T) {
		const total = 1000
		b := NewBudget(total, time.Minute)
		done := 0
		var mu sync.Mutex
		for i := range 100 {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			go func() {
				for range 50 {
					c := claim{age: b.ages.Add(1)}
					for want := r.Int64N(total); c.held < want; {
						if b.extend(&c, min(100, want-c.held)) != nil {
							break
						}
						if n := b.InUse(); n > total || n < 0 {
							t.Errorf("seed %d: %d bytes in use", seed, n)
						}
						time.Sleep(time.Duration(r.IntN(1000)))
					}
					b.release(c.held)
				}
				mu.Lock()
				done++
				mu.Unlock()
			}()
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if done != 100 || b.InUse() != 0 || b.Waiting() != 0 {
			t.Errorf("seed %d: %d done, %d bytes in use, %d waiting", seed, done, b.InUse(), b.Waiting())
		}
	})
}
