package testcluster_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// action is what a client does with a blob.
type action uint8

const (
	actPut action = iota
	actDelete
	actGet
)

// outcome is what a client knows of what it did.
type outcome uint8

const (
	// done: it has happened. A get has seen value; a delete has deleted something, or found nothing: then value is "".
	done outcome = iota
	// failed: the answer says that nothing happened. Of a get it says nothing at all.
	failed
	// unknown: it may happen at any time after its begin, or never.
	unknown
)

// event is one operation of a client on a blob.
type event struct {
	client   int
	what     action
	value    string // that is put; "" is a blob that is not there
	result   outcome
	found    string // by a get, or "something" by a delete
	from, to time.Duration
	via, say string // for people: the entrance, and the answer
}

// something is what a delete has found.
const something = "something"

func (e event) String() string {
	text := [...]string{"put", "delete", "get"}[e.what]
	if e.what == actPut {
		text += " " + e.value
	}
	text += " " + [...]string{"done", "failed", "unknown"}[e.result]
	if e.what != actPut && e.result == done {
		text += fmt.Sprintf(", found %q", e.found)
	}
	return fmt.Sprintf("%9.3f-%9.3f client %2d via %s: %s (%s)", e.from.Seconds(), e.to.Seconds(), e.client, e.via, text, e.say)
}

// sent reports whether the client was sent on to another server.
func (e event) sent() bool { return strings.Contains(e.via, ">") }

// history is everything that happened to one blob.
type history struct {
	fid string

	mu       sync.Mutex // guards the fields below
	events   []event
	unknowns int
	begun    int
}

func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	if e.result == unknown {
		h.unknowns++
	}
}

// begin counts an operation; false says that the blob has had enough. Each operation of which nobody knows whether
// it happens doubles the work of the checker.
func (h *history) begin(most, mostUnknown int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun >= most || h.unknowns >= mostUnknown {
		return false
	}
	h.begun++
	return true
}

// register is a blob: its state is its value.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		e := input.(event)
		switch {
		case e.what == actPut:
			return true, e.value
		case e.what == actGet:
			return e.found == state, state
		case e.result == unknown:
			return true, ""
		default:
			return (e.found != "") == (state != ""), ""
		}
	},
}

// operations are what the checker looks at: that which failed never happens, that which is unknown may at any time.
func operations(events []event) (ops []porcupine.Operation) {
	for _, e := range events {
		if e.result == failed || e.result == unknown && e.what == actGet {
			continue
		}
		end := int64(e.to)
		if e.result == unknown {
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: e.client, Input: e, Call: int64(e.from), Return: end})
	}
	return ops
}

// checkTimeout bounds the search for an order of one blob's operations.
const checkTimeout = 30 * time.Second

// check wants an order of the operations in which each finds what those before it have left.
func (h *history) check() error {
	switch porcupine.CheckOperationsTimeout(register, operations(h.events), checkTimeout) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%s: no order was found in %v", h.fid, checkTimeout)
	default:
		return fmt.Errorf("%s: there is no order in which each operation finds what those before it have left:\n%s", h.fid, h.shortest())
	}
}

// shortest returns the events up to the first with which there is no order any more.
func (h *history) shortest() string {
	events := slices.Clone(h.events)
	slices.SortFunc(events, func(a, b event) int { return int(a.to - b.to) })
	for n := range events {
		// Those that end later but began before may have had an effect: they are kept as unknown ones.
		cut := slices.Clone(events[:n+1])
		for _, e := range events[n+1:] {
			if e.from < events[n].to && e.what != actGet && e.result != failed {
				e.result = unknown
				cut = append(cut, e)
			}
		}
		if porcupine.CheckOperationsTimeout(register, operations(cut), checkTimeout) == porcupine.Illegal {
			events = cut
			break
		}
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.from - b.from) })
	var text strings.Builder
	for _, e := range events {
		fmt.Fprintln(&text, e)
	}
	return text.String()
}

// TestHistories gives the checker histories that a store may have, and some that it may not.
func TestHistories(t *testing.T) {
	t.Parallel()
	put := func(v string, from, to int, r outcome) event {
		return event{what: actPut, value: v, result: r, from: time.Duration(from), to: time.Duration(to)}
	}
	get := func(v string, from, to int) event {
		return event{what: actGet, found: v, from: time.Duration(from), to: time.Duration(to)}
	}
	del := func(found string, from, to int, r outcome) event {
		return event{what: actDelete, found: found, result: r, from: time.Duration(from), to: time.Duration(to)}
	}
	for _, c := range []struct {
		name   string
		events []event
		legal  bool
	}{
		{"put, get, delete, get", []event{put("a", 0, 1, done), get("a", 2, 3), del(something, 4, 5, done), get("", 6, 7)}, true},
		{"lost", []event{put("a", 0, 1, done), get("", 2, 3)}, false},
		{"lost to a delete", []event{put("a", 0, 1, done), del("", 2, 3, done)}, false},
		{"back", []event{put("a", 0, 1, done), del(something, 2, 3, done), get("a", 4, 5)}, false},
		{"stale", []event{put("a", 0, 1, done), put("b", 2, 3, done), get("a", 4, 5)}, false},
		{"either, while it is put", []event{put("a", 0, 1, done), put("b", 2, 9, done), get("a", 3, 4), get("b", 5, 6)}, true},
		{"new, then old", []event{put("a", 0, 1, done), put("b", 2, 9, done), get("b", 3, 4), get("a", 5, 6)}, false},
		{"what failed is there", []event{put("a", 0, 1, failed), get("a", 2, 3)}, false},
		{"what failed was deleted", []event{put("a", 0, 1, done), del("", 2, 3, failed), get("", 4, 5)}, false},
		{"unknown, happens late", []event{put("a", 0, 1, unknown), get("", 2, 3), get("a", 4, 5)}, true},
		{"unknown, never happens", []event{put("a", 0, 1, unknown), get("", 2, 3), get("", 4, 5)}, true},
		{"unknown, happens and is undone", []event{put("a", 0, 1, unknown), get("a", 2, 3), get("", 4, 5)}, false},
		{"unknown delete", []event{put("a", 0, 1, done), del("", 2, 3, unknown), get("a", 4, 5), get("", 6, 7)}, true},
		{"unknown delete, undone", []event{put("a", 0, 1, done), del("", 2, 3, unknown), get("", 4, 5), get("a", 6, 7)}, false},
		{"delete before the put", []event{del("", 0, 1, unknown), put("a", 2, 3, done), get("", 4, 5)}, true},
		{"get that says nothing", []event{put("a", 0, 1, done), {what: actGet, result: failed, from: 2, to: 3}}, true},
	} {
		if err := (&history{events: c.events}).check(); (err == nil) != c.legal {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
