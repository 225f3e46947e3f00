package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// model knows what a volume must hold. Each key is changed by one goroutine at a time.
type model struct {
	mu      sync.Mutex // guards all
	keys    map[blob.Key]keyState
	created bool // the volume's creation was answered with success
}

// keyState is what may be found under a key; a nil Needle is none.
type keyState struct {
	acked *Needle
	// maybe are operations in flight, and those whose outcome a disk that fails for good leaves open.
	maybe []*Needle
}

func newModel() *model { return &model{keys: map[blob.Key]keyState{}} }

func (m *model) snapshot() *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	copied := &model{keys: maps.Clone(m.keys), created: m.created}
	for key, s := range copied.keys {
		s.maybe = slices.Clone(s.maybe)
		copied.keys[key] = s
	}
	return copied
}

func (m *model) begin(key blob.Key, n *Needle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.keys[key]
	s.maybe = append(slices.Clone(s.maybe), n)
	m.keys[key] = s
}

// end settles the operation begun last. One that failed has had no effect, unless inDoubt.
func (m *model) end(key blob.Key, n *Needle, err error, inDoubt bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.keys[key]
	switch {
	case err == nil:
		s = keyState{acked: n}
	case !inDoubt || errors.Is(err, ErrReadOnly) || errors.Is(err, ErrNotFound):
		s.maybe = slices.Clone(s.maybe[:len(s.maybe)-1])
	}
	m.keys[key] = s
}

func sameNeedle(a, b *Needle) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Cookie == b.Cookie && bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Name, b.Name) &&
		bytes.Equal(a.Pairs, b.Pairs) && a.LastModified == b.LastModified
}

// found reads a key: nil if it is not there.
func found(v *Volume, key blob.Key) (*Needle, error) {
	n, _, err := v.Get(key, testCookie, nil)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// check compares a volume with the model and returns what it found.
func (m *model) check(v *Volume) (map[blob.Key]*Needle, error) {
	result := map[blob.Key]*Needle{}
	for key, s := range m.keys {
		n, err := found(v, key)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", key, err)
		}
		if result[key] = n; sameNeedle(n, s.acked) || slices.ContainsFunc(s.maybe, func(o *Needle) bool { return sameNeedle(n, o) }) {
			continue
		}
		return nil, fmt.Errorf("key %d: found %s, want %s or one of %d more", key, brief(n), brief(s.acked), len(s.maybe))
	}
	for _, key := range liveKeys(v) {
		if _, ok := m.keys[key]; !ok {
			return nil, fmt.Errorf("key %d is there, which nobody has put", key)
		}
	}
	return result, nil
}

func brief(n *Needle) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprintf("%d bytes (%.8x)", len(n.Data), n.Data[:min(4, len(n.Data))])
}

// checkDisk opens what a crash has left, compares it, appends, and opens it again.
func (m *model) checkDisk(t *testing.T, disk *vfs.Mem, what string) {
	t.Helper()
	if err := m.tryDisk(t, disk); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (m *model) tryDisk(t *testing.T, disk *vfs.Mem) error {
	s, err := OpenStore(disk, []Directory{{Path: testDir, MaxVolumes: 100}}, Config{})
	if err != nil {
		return err
	}
	v, ok := s.Volume(7)
	if !ok {
		if m.created {
			return errors.New("the volume is not there")
		}
		if v, err = s.Create(7, "", blob.Placement{}, blob.TTL{}); err != nil {
			return err
		}
	}
	first, err := m.check(v)
	if err != nil {
		return err
	}
	if cause := v.Status().ReadOnly; cause != 0 {
		return fmt.Errorf("the volume is read-only: %s", cause)
	}
	after := &Needle{Key: 1 << 40, Cookie: testCookie, Data: []byte("after the crash")}
	if err := v.Put(after); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	wantIdxAgrees(t, disk, testBase)
	if s, err = OpenStore(disk, []Directory{{Path: testDir}}, Config{}); err != nil {
		return err
	}
	if v, ok = s.Volume(7); !ok {
		return errors.New("the volume does not open again")
	}
	again := &model{keys: map[blob.Key]keyState{after.Key: {acked: after}}}
	for key, n := range first {
		again.keys[key] = keyState{acked: n}
	}
	if _, err := again.check(v); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	return s.Close()
}
