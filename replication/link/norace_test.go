//go:build !race

package link

import "testing"

// TestSteadyTrafficAllocatesNothing allows a little for pools that the collector empties. The race
// detector makes them forget on purpose.
func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	p := startPair(t)
	const n = 20_000
	if per := testing.AllocsPerRun(1, func() { p.run(n, 16) }) / (2 * n); per > 0.02 {
		t.Errorf("%.3f allocations a message", per)
	}
}
