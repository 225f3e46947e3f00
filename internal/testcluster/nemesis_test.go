package testcluster_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weed/internal/testcluster"
)

// nemesis makes faults happen, and ends them.
type nemesis struct {
	t       *testing.T
	c       *testcluster.Cluster
	ground  *ground
	random  *rand.Rand
	small   *testcluster.Server          // whose disk can be filled; nil if there is none
	down    map[*testcluster.Server]bool // processes that something happens to
	began   time.Time
	lost    map[[2]*testcluster.Server]int // by how many faults
	heals   map[[2]*testcluster.Server]func()
	faults  int
	active  []fault
	volumes []*blobs // whose copies may be damaged
	flipped []*flips
	damages int
	looked  time.Time // at flipped
	journal []string
}

// fault is one that has begun.
type fault struct {
	name  string
	until time.Time
	undo  func()
}

func (n *nemesis) note(format string, args ...any) {
	n.journal = append(n.journal, fmt.Sprintf("%9.3f ", time.Since(n.began).Seconds())+fmt.Sprintf(format, args...))
}

// run lets faults happen, mostly one or two at a time, for so long.
func (n *nemesis) run(length time.Duration) {
	step := time.NewTicker(50 * time.Millisecond)
	defer step.Stop()
	next := time.Now().Add(time.Second)
	flip := next
	for end := time.Now().Add(length); time.Now().Before(end); <-step.C {
		n.end(func(f fault) bool { return time.Now().After(f.until) })
		if time.Since(n.looked) > mendStep {
			n.looked = time.Now()
			n.lookAtFlips()
		}
		if time.Now().After(flip) {
			n.begin(n.flip)
			flip = time.Now().Add(time.Duration(n.random.IntN(2000)) * time.Millisecond)
		}
		if time.Now().Before(next) || len(n.active) >= 2 {
			continue
		}
		n.begin()
		next = time.Now().Add(time.Duration(n.random.IntN(3000)) * time.Millisecond)
	}
}

// end undoes the faults that are due.
func (n *nemesis) end(due func(fault) bool) {
	kept := n.active[:0]
	for _, f := range n.active {
		if !due(f) {
			kept = append(kept, f)
			continue
		}
		n.note("end of: %s", f.name)
		f.undo()
	}
	n.active = kept
}

// heal ends all faults, and waits until every server answers.
func (n *nemesis) heal() {
	n.end(func(fault) bool { return true })
	n.note("all faults are over")
}

// begin makes something happen: one of the kinds that are given, or else any.
func (n *nemesis) begin(kinds ...func(*testcluster.Server) (string, func())) {
	servers := n.c.Volumes
	if n.random.IntN(6) == 0 && len(kinds) == 0 {
		servers = n.c.Masters
	}
	victim := servers[n.random.IntN(len(servers))]
	if len(kinds) == 0 {
		if kinds = n.kinds(); n.needed(victim) {
			return
		}
	}
	length := time.Duration(n.random.IntN(1500)) * time.Millisecond
	if n.random.IntN(2) == 0 { // so long that those who are left go on without it
		length += time.Duration(2000+n.random.IntN(6000)) * time.Millisecond
	}
	name, undo := kinds[n.random.IntN(len(kinds))](victim)
	if name == "" {
		return // nothing can happen to it now
	}
	n.faults++
	if undo == nil {
		n.note("%s", name)
		return
	}
	n.note("%s, for %v", name, length)
	n.active = append(n.active, fault{name, time.Now().Add(length), undo})
}

// kinds returns what can happen, what is to happen more often several times.
func (n *nemesis) kinds() []func(*testcluster.Server) (string, func()) {
	if n.random.IntN(12) == 0 {
		return []func(*testcluster.Server) (string, func()){n.killAll}
	}
	kinds := []func(*testcluster.Server) (string, func()){n.kill, n.kill, n.term, n.pause, n.pause, n.flipAndKill, n.flipAndKill}
	if n.ground.cut != nil {
		kinds = append(kinds, n.cutOff, n.cutOff, n.cutPair, n.cutOneWay, n.deafen, n.slow)
	}
	if n.small != nil {
		kinds = append(kinds, n.fillUp)
	}
	return kinds
}

// take reserves a process, which only one fault happens to at a time. Of the masters a majority stays.
func (n *nemesis) take(s *testcluster.Server) bool {
	if n.down[s] {
		return false
	}
	for _, m := range n.c.Masters {
		for _, other := range n.c.Masters {
			if m == s && n.down[other] {
				return false
			}
		}
	}
	n.down[s] = true
	return true
}

func (n *nemesis) kill(s *testcluster.Server) (string, func()) {
	if !n.take(s) {
		return "", nil
	}
	s.Kill()
	return "kill -9 " + s.Addr, func() {
		s.Restart()
		n.down[s] = false
	}
}

func (n *nemesis) term(s *testcluster.Server) (string, func()) {
	if !n.take(s) {
		return "", nil
	}
	began := time.Now()
	if code := s.Term(); code != 0 && !(s == n.small && n.isFull()) { // that it can't write down all on a full disk it tells
		n.t.Errorf("%s: exit code %d", s.Addr, code)
	}
	return fmt.Sprintf("kill -TERM %s (it took %v)", s.Addr, time.Since(began).Round(time.Millisecond)), func() {
		s.Restart()
		n.down[s] = false
	}
}

func (n *nemesis) pause(s *testcluster.Server) (string, func()) {
	if !n.take(s) {
		return "", nil
	}
	s.Pause()
	return "kill -STOP " + s.Addr, func() {
		s.Resume()
		n.down[s] = false
	}
}

// killAll kills all volume servers that nothing happens to, at once.
func (n *nemesis) killAll(*testcluster.Server) (string, func()) {
	if len(n.flipped) > 0 {
		return "", nil
	}
	var taken []*testcluster.Server
	var names []string
	for _, v := range n.c.Volumes {
		if n.take(v) {
			taken, names = append(taken, v), append(names, v.Addr)
		}
	}
	for _, v := range taken {
		v.Kill()
	}
	return "kill -9 " + strings.Join(names, " "), func() {
		for _, v := range taken {
			v.Restart()
			n.down[v] = false
		}
	}
}

// others returns all servers but one.
func (n *nemesis) others(s *testcluster.Server) (all []*testcluster.Server) {
	for _, o := range append(append(all, n.c.Masters...), n.c.Volumes...) {
		if o != s {
			all = append(all, o)
		}
	}
	return all
}

// lose cuts one-way connections between addresses, each from the first to the second.
func (n *nemesis) lose(pairs ...[2]*testcluster.Server) func() {
	for _, p := range pairs {
		if n.lost[p]++; n.lost[p] == 1 {
			n.heals[p] = n.ground.cut(p[0].Addr, p[1].Addr)
		}
	}
	return func() {
		for _, p := range pairs {
			if n.lost[p]--; n.lost[p] == 0 {
				n.heals[p]()
			}
		}
	}
}

// cutOff separates a server from all others, or from the masters, or from the volume servers; clients reach it.
func (n *nemesis) cutOff(s *testcluster.Server) (string, func()) {
	from, whom := n.others(s), "all"
	switch n.random.IntN(4) {
	case 0:
		from, whom = n.c.Masters, "the masters"
	case 1:
		from, whom = n.c.Volumes, "the volume servers"
	}
	var pairs [][2]*testcluster.Server
	for _, o := range from {
		if o != s {
			pairs = append(pairs, [2]*testcluster.Server{s, o}, [2]*testcluster.Server{o, s})
		}
	}
	return "cut " + s.Addr + " off from " + whom, n.lose(pairs...)
}

func (n *nemesis) cutPair(s *testcluster.Server) (string, func()) {
	o := n.others(s)[n.random.IntN(len(n.others(s)))]
	if n.needed(o) {
		return "", nil
	}
	return "cut " + s.Addr + " and " + o.Addr + " off from each other",
		n.lose([2]*testcluster.Server{s, o}, [2]*testcluster.Server{o, s})
}

func (n *nemesis) cutOneWay(s *testcluster.Server) (string, func()) {
	o := n.others(s)[n.random.IntN(len(n.others(s)))]
	if n.needed(o) {
		return "", nil
	}
	return "lose what " + s.Addr + " sends to " + o.Addr, n.lose([2]*testcluster.Server{s, o})
}

// deafen lets a server speak and not hear, or hear and not speak.
func (n *nemesis) deafen(s *testcluster.Server) (string, func()) {
	hears := n.random.IntN(2) == 0
	var pairs [][2]*testcluster.Server
	for _, o := range n.others(s) {
		if hears {
			pairs = append(pairs, [2]*testcluster.Server{s, o})
		} else {
			pairs = append(pairs, [2]*testcluster.Server{o, s})
		}
	}
	if hears {
		return "lose all that " + s.Addr + " sends", n.lose(pairs...)
	}
	return "lose all that is sent to " + s.Addr, n.lose(pairs...)
}

func (n *nemesis) slow(s *testcluster.Server) (string, func()) {
	for _, f := range n.active {
		if strings.HasPrefix(f.name, "slow") {
			return "", nil
		}
	}
	kilobits := 100 << n.random.IntN(8)
	undo, err := n.ground.slow(s.Addr, kilobits)
	if err != nil {
		n.note("no slow link: %v", err)
		return "", nil
	}
	return fmt.Sprintf("slow down what is sent to %s to %d kbit/s", s.Addr, kilobits), undo
}

// filler is the file that fills the small disk.
func (n *nemesis) filler() string { return filepath.Join(n.small.Dir, "filler") }

func (n *nemesis) isFull() bool {
	_, err := os.Stat(n.filler())
	return err == nil
}

// fillUp fills the small disk.
func (n *nemesis) fillUp(*testcluster.Server) (string, func()) {
	name := n.filler()
	if n.isFull() || n.needed(n.small) {
		return "", nil
	}
	f, err := os.Create(name)
	if err != nil {
		n.t.Error(err)
		return "", nil
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return "fill the disk of " + n.small.Addr, func() {
		if err := os.Remove(name); err != nil {
			n.t.Error(err)
		}
	}
}
