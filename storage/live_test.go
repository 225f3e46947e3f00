package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"weed/internal/blob"
	"weed/internal/vfs"
)

// TestLive holds what Live finds in every frozen volume against what Get finds.
func TestLive(t *testing.T) {
	for _, g := range goldenVolumes {
		t.Run(g.name, func(t *testing.T) {
			s, v := openTestVolume(t, g.load(t), goldenConfig())
			defer closeStore(t, s)
			for _, verify := range []bool{false, true} {
				live := map[blob.Key]LiveNeedle{}
				last := int64(0)
				err := v.Live(0, v.SizeBytes(), verify, nil, func(n LiveNeedle) bool {
					if n.Damage != "" || n.Offset <= last {
						t.Errorf("%+v behind %d", n, last)
					}
					live[n.Key], last = n, n.Offset
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range g.want {
					n, ok := live[want.key]
					ok = ok && n.Cookie == want.cookie
					if ok != (want.want.Data != nil) || ok && (n.DataSize != int64(len(want.want.Data)) || !bytes.Equal(n.Name, want.want.Name) || !bytes.Equal(n.Mime, want.want.Mime)) {
						t.Errorf("key %d: %v, %+v", want.key, ok, n)
					}
				}
			}
		})
	}
}

func TestLiveDamaged(t *testing.T) {
	disk := vfs.NewMem()
	s, v := createTestVolume(t, disk, Config{})
	defer closeStore(t, s)
	sizes := []int{100, 300_000, 500, 400_000, 50}
	var offsets []int64
	for i, size := range sizes {
		offsets = append(offsets, v.SizeBytes())
		mustPut(t, v, blob.Key(i+1), payload(uint64(i), size))
	}
	for _, i := range []int{2, 3} {
		if _, err := v.dat().WriteAt([]byte{1, 2, 3}, offsets[i]+60); err != nil {
			t.Fatal(err)
		}
	}
	enough := errors.New("enough")
	list := func(from int64, pace Pace) (found string) {
		t.Helper()
		err := v.Live(from, v.SizeBytes(), true, pace, func(n LiveNeedle) bool {
			found += fmt.Sprint(n.Key)
			if n.Damage != "" {
				found += "!"
			}
			found += " "
			return true
		})
		if err != nil && !errors.Is(err, enough) {
			t.Fatal(err)
		}
		return found
	}
	if got := list(0, nil); got != "1 2 3! 4! 5 " {
		t.Errorf("found %q", got)
	}
	if got := list(offsets[3], nil); got != "4! 5 " {
		t.Errorf("found %q", got)
	}
	reads := 0
	if got := list(0, func(int) error {
		if reads++; reads > 1 {
			return enough
		}
		return nil
	}); strings.TrimSpace(got) != "1" {
		t.Errorf("found %q", got)
	}
}
