package shell

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// newPollBench is a bench that does not wait between questions.
func newPollBench(t *testing.T, script map[string][]string) *bench {
	b := newBench(t, func(c *Config) { c.PollEvery = time.Millisecond })
	b.master.set(func() { b.master.script = script })
	return b
}

func TestCopyCommands(t *testing.T) {
	const began, half, done = `{"volumeId":3,"from":"a:1","to":"b:1","doing":"move: begins"}`,
		`{"volumeId":3,"from":"a:1","to":"b:1","doing":"move: b:1 has 5 of 9 bytes"}`, `{"volumeId":3,"from":"a:1","to":"b:1","done":true}`
	for _, c := range []struct {
		line   string
		script map[string][]string
		out    string // a part of it
		errs   string
		order  string // the last one
		fails  string
	}{
		{line: "volume.move -volume=3 -from=a:1 -to=b:1", script: map[string][]string{"/vol/move": {began, half, half, done}},
			out: "Volume 3 is on b:1, and no longer on a:1.\n", errs: "volume 3: move: begins\nvolume 3: move: b:1 has 5 of 9 bytes\n",
			order: "POST /vol/move?from=a%3A1&to=b%3A1&volumeId=3"},
		{line: "volume.move -volume=3 -from=a:1 -to=b:1 -json", script: map[string][]string{"/vol/move": {done}},
			out: `{"id":3,"from":"a:1","to":"b:1"}`, order: "POST /vol/move?from=a%3A1&to=b%3A1&volumeId=3"},
		{line: "volume.move -volume=3 -from=a:1 -to=b:1", script: map[string][]string{"/vol/move": {began, "409 there is no progress"}},
			fails: "there is no progress"},
		{line: "volume.replicate 3", script: map[string][]string{"/vol/replicate": {half, `{"volumeId":3,"done":true}`}},
			out: "Volume 3 has all its copies again, now also on b:1.\n", order: "POST /vol/replicate?volumeId=3"},
		{line: "volume.replicate 3 -json", script: map[string][]string{"/vol/replicate": {`{"volumeId":3,"done":true}`}}, out: `[{"id":3}]`},
		{line: "volume.adopt -volume=3 -server=b:1 -yes", script: map[string][]string{"/vol/adopt": {done}},
			out: "The copy of volume 3 on b:1 is one of the volume's.\n", errs: "What b:1 holds of volume 3 is replaced by what its other copies have.\n",
			order: "POST /vol/adopt?server=b%3A1&volumeId=3"},
		{line: "volume.adopt -volume=3 -server=b:1", fails: "there is nobody to ask"},
		{line: "volume.adopt -volume=99 -server=b:1", fails: "there is no volume 99"},
		{line: "volume.balance -dry", script: map[string][]string{"/vol/balance": {`{"moves":[{"volumeId":3,"from":"a:1","to":"b:1"}]}`}},
			out: "VOLUME  FROM  TO\n     3  a:1   b:1\n"},
		{line: "volume.balance -json", script: map[string][]string{"/vol/balance": {`{"moves":[{"volumeId":3,"from":"a:1","to":"b:1"}]}`}, "/vol/move": {half, done}},
			out: `{"moves":[{"volumeId":3,"from":"a:1","to":"b:1"}],"done":1}`, order: "POST /vol/move?from=a%3A1&to=b%3A1&volumeId=3"},
		{line: "volume.balance", script: map[string][]string{"/vol/balance": {`{"moves":[]}`}}, out: "The slots are used evenly.\n"},
		{line: "server.drain a:1", script: map[string][]string{"/server/drain": {
			`{"server":"a:1","draining":true,"left":2,"moving":[{"volumeId":3},{"volumeId":4}]}`, `{"server":"a:1","draining":true,"left":0,"strays":1}`}},
			errs: "2 volumes left, moving 3 4\n", out: "a:1 holds no volume any more and can be stopped.\nIt has 1 stray copy that no volume needs",
			order: "POST /server/drain?server=a%3A1"},
		{line: "server.drain a:1", script: map[string][]string{"/server/drain": {"409 no room for 1 of the 2 volumes on a:1"}}, fails: "no room for 1 of the 2"},
		{line: "server.drain a:1", script: map[string][]string{"/server/drain": {`{"server":"a:1","left":1,"stuck":[{"volumeId":3,"reason":"no free volumes left"}]}`}},
			fails: "1 volume left on a:1, and nothing moves; volume 3: no free volumes left"},
		{line: "server.drain -undo a:1", script: map[string][]string{"/server/drain": {`{"server":"a:1","left":1}`}},
			out: "a:1 is used again.\n", order: "POST /server/drain?server=a%3A1&undo=true"},
	} {
		b := newPollBench(t, c.script)
		err := b.Run(bg, c.line)
		if got := text(err); (c.fails == "") != (err == nil) || !strings.Contains(got, c.fails) {
			t.Errorf("%s: %q, want %q", c.line, got, c.fails)
		}
		if out, errs := b.out.take(), b.errs.take(); !strings.Contains(out, c.out) || !strings.Contains(errs, c.errs) {
			t.Errorf("%s printed %q and %q", c.line, out, errs)
		}
		if orders := b.master.takeOrders(); c.order != "" && (len(orders) == 0 || orders[len(orders)-1] != c.order) {
			t.Errorf("%s: %v", c.line, orders)
		}
	}
}

func TestCopyCommandsRefuse(t *testing.T) {
	b := newPollBench(t, nil)
	for line, want := range map[string]string{
		"volume.move -from=a:1 -to=b:1":             "-volume: \"\" is no volume id",
		"volume.move -volume=3 -to=b:1":             "-from is needed",
		"volume.move -volume=3 -from=b:1":           "-to is needed",
		"volume.move -volume=3 -from=a:1 -to=b:1 x": "unexpected argument",
		"volume.adopt -volume=3":                    "-server is needed",
		"volume.replicate":                          "the id of a volume is needed",
		"volume.replicate x":                        "is no volume id",
		"volume.balance x":                          "unexpected argument",
		"server.drain":                              "the host:port of a server is needed",
	} {
		if err := b.Run(bg, line); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	if orders := b.master.takeOrders(); slices.ContainsFunc(orders, func(o string) bool { return true }) {
		t.Error(orders)
	}
}
