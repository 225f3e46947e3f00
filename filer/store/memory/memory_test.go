package memory_test

import (
	"testing"

	"weed/filer/store"
	"weed/filer/store/memory"
	"weed/filer/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New(storetest.Options()) })
}

func TestShared(t *testing.T) {
	storetest.RunShared(t, 1000, func(*testing.T) (a, b store.Store) {
		s := memory.New(storetest.Options())
		return s, s
	})
}
