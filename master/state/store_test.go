package state_test

import (
	"errors"
	"net"
	"testing"

	"weed/master/state"
	"weed/raftstore"
)

var _ raftstore.StateMachine = (*state.Machine)(nil)

// TestKeysThroughRaft leases through a real log and restarts: nothing is leased twice.
func TestKeysThroughRaft(t *testing.T) {
	dir, last := t.TempDir(), state.KeyRange{}
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		machine := state.New()
		store, err := raftstore.Open(raftstore.Config{Dir: dir, ID: "127.0.0.1:9333", Listener: ln}, machine)
		if err != nil {
			t.Fatal(err)
		}
		for {
			changed := store.LeaderChanges()
			if err = store.Ready(t.Context()); err == nil {
				break
			}
			<-changed
		}
		for range 10 {
			keys, err := state.Do(t.Context(), store, state.LeaseKeys(100))
			if err != nil || keys.First != last.Last+1 || keys.Len() != 100 {
				t.Fatalf("lease %v after %v, %v", keys, last, err)
			}
			last = keys
		}
		if _, err := state.Do(t.Context(), store, state.LeaseKeys(0)); !errors.Is(err, state.ErrMalformed) {
			t.Errorf("an empty lease gave %v", err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
