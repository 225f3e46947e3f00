package httpx

import (
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// Memory for bodies comes in classes, four to a power of two, so at most a fifth of a buffer is waste.
// Up to maxHeapBytes it is Go memory in a sync.Pool. Above, it is mapped from the kernel: the collector
// neither counts nor zeroes it, a page costs memory only from its first byte on, and giving it back is
// immediate, so the peak of the process stays at the budget instead of twice the live heap.
const (
	minClassBytes = 1 << 10
	maxHeapBytes  = 128 << 10
	heapClasses   = 4*7 + 1 // from 1 KiB to 128 KiB
)

// classOf returns the smallest class that holds n bytes, as an index and as a size. Class 4p+q has
// minClassBytes * 2^p * (4+q)/4 bytes.
func classOf(n int) (index, sizeBytes int) {
	if n <= minClassBytes {
		return 0, minClassBytes
	}
	p := bits.Len(uint(n-1)) - 11 // n is in (1 KiB * 2^p, 1 KiB * 2^(p+1)]
	quarter := minClassBytes << p / 4
	q := (n - 1 - minClassBytes<<p) / quarter // 0..3
	return 4*p + q + 1, minClassBytes<<p + (q+1)*quarter
}

var heapPools [heapClasses]sync.Pool // of *Body

// heapBody returns a body with room for n <= maxHeapBytes bytes. The Body travels with its buffer through
// the pool, so that neither is allocated anew.
func heapBody(budget *Budget, n int) *Body {
	index, size := classOf(n)
	b, ok := heapPools[index].Get().(*Body)
	if !ok {
		b = &Body{heap: make([]byte, size), class: index}
	}
	b.budget = budget
	b.inUse.Store(true)
	return b
}

// A mapping is kernel memory.
type mapping struct {
	mem      []byte
	resident int // bytes from the beginning that may have been touched
}

func newMapping(n int) (mapping, error) {
	_, size := classOf(n)
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	return mapping{mem: mem}, err
}

func (m mapping) unmap() { _ = unix.Munmap(m.mem) }

// A shelf keeps mappings for reuse, up to a number of resident bytes in all.
type shelf struct {
	mu       sync.Mutex
	most     int
	resident int
	classes  map[int][]mapping
}

// take returns a mapping of n bytes' class, kept or new.
func (s *shelf) take(n int) (mapping, error) {
	index, _ := classOf(n)
	s.mu.Lock()
	if list := s.classes[index]; len(list) > 0 {
		m := list[len(list)-1]
		s.classes[index] = list[:len(list)-1]
		s.resident -= m.resident
		s.mu.Unlock()
		return m, nil
	}
	s.mu.Unlock()
	return newMapping(n)
}

// put keeps m, or gives it back to the kernel when the shelf is full.
func (s *shelf) put(m mapping) {
	index, _ := classOf(len(m.mem))
	s.mu.Lock()
	keep := s.resident+m.resident <= s.most
	if keep {
		if s.classes == nil {
			s.classes = make(map[int][]mapping)
		}
		s.classes[index] = append(s.classes[index], m)
		s.resident += m.resident
	}
	s.mu.Unlock()
	if !keep {
		m.unmap()
	}
}
