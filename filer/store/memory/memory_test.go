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
