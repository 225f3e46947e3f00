package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"weed/client"
	"weed/internal/blob"
)

// pollEvery is how often the masters are asked how far they are.
const pollEvery = 500 * time.Millisecond

var copyCommands = []Spec{
	{
		Name: "volume.replicate", Args: "volumeId…", Short: "Make missing copies of volumes now, not only after -repairDelay.",
		Example: "volume.replicate 3 4", Complete: completeVolumes,
		New: func() Command { return new(volumeReplicate) },
	},
	{
		Name: "volume.move", Short: "Move a copy of a volume from one server to another.",
		Long:    "It is readable and takes blobs all the while. Interrupted here, the move goes on.",
		Example: "volume.move -volume=3 -from=127.0.0.1:8080 -to=127.0.0.1:8081",
		New:     func() Command { return new(volumeMove) },
	},
	{
		Name: "volume.balance", Short: "Move volumes until the slots of all servers are used evenly.",
		Example: "volume.balance -dry",
		New:     func() Command { return new(volumeBalance) },
	},
	{
		Name: "volume.adopt", Short: "Make a stray copy one of its volume.",
		Long: "If other copies are alive, what they have replaces what the stray has. If none is, the stray is the volume\n" +
			"from then on, even if it is shorter than what has been lost.",
		Example: "volume.adopt -volume=3 -server=127.0.0.1:8081",
		New:     func() Command { return new(volumeAdopt) },
	},
	{
		Name: "server.drain", Args: "server", Short: "Move everything off a volume server, so that it can be stopped for good.",
		Long: "Nothing new is put on it meanwhile. Interrupted here, it goes on until the leader changes. It is refused when\n" +
			"there is no room elsewhere.",
		Example: "server.drain 127.0.0.1:8083", Complete: completeServers,
		New: func() Command { return new(serverDrain) },
	},
}

// poll calls ask until it is done, with pauses, and tells a person what has changed.
func (e *Env) poll(ctx context.Context, ask func() (progress string, done bool, err error)) error {
	tick := time.NewTicker(e.shell.pollEvery)
	defer tick.Stop()
	said := ""
	for {
		progress, done, err := ask()
		if err != nil || done {
			return explain(err)
		}
		if progress != said && progress != "" {
			fmt.Fprintln(e.Err, progress)
			said = progress
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// follow calls ask until the copying that it tells of is done.
func (e *Env) follow(ctx context.Context, ask func() (client.Copying, error)) (last client.Copying, err error) {
	err = e.poll(ctx, func() (string, bool, error) {
		c, err := ask()
		if c.To != "" {
			last = c
		}
		return fmt.Sprintf("volume %d: %s", c.VolumeID, c.Doing), c.Done, err
	})
	return last, err
}

type volumeReplicate struct {
	output
	ids []uint32
}

func (c *volumeReplicate) Check(args []string) (err error) {
	if len(args) == 0 {
		return usageErrorf("the id of a volume is needed")
	}
	c.ids, err = parseVolumes(args)
	return err
}

// copyReport is one volume as commands print it that have changed where it is.
type copyReport struct {
	ID   uint32 `json:"id"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"` // the server of the last copy that was made, "" if none was missing
}

func (c *volumeReplicate) Run(ctx context.Context, e *Env) error {
	reports := []copyReport{}
	var failed error
	for _, id := range c.ids {
		last, err := e.follow(ctx, func() (client.Copying, error) { return e.Client.ReplicateVolume(ctx, id, "") })
		if err != nil {
			failed = err
			break
		}
		reports = append(reports, copyReport{ID: id, To: last.To})
	}
	return errors.Join(c.print(e, reports, func(w io.Writer) {
		for _, r := range reports {
			if r.To == "" {
				fmt.Fprintf(w, "Volume %d has all its copies.\n", r.ID)
			} else {
				fmt.Fprintf(w, "Volume %d has all its copies again, now also on %s.\n", r.ID, r.To)
			}
		}
	}), failed)
}

// oneVolume is a part of commands that take one volume as a flag.
type oneVolume struct {
	noArgs
	volume string
	id     uint32
}

// Flags implements Command.
func (c *oneVolume) Flags(f *Flags) {
	f.String(&c.volume, "volume", "id", "The volume.", completeVolumes)
}

// check judges the volume, and that flags, names and values in turn, are given.
func (c *oneVolume) check(args []string, needed ...string) error {
	id, err := blob.ParseVolumeID(c.volume)
	if err != nil {
		return usageErrorf("-volume: %q is no volume id", c.volume)
	}
	c.id = uint32(id)
	for i := 0; i < len(needed); i += 2 {
		if needed[i+1] == "" {
			return usageErrorf("-%s is needed", needed[i])
		}
	}
	return c.noArgs.Check(args)
}

type volumeMove struct {
	oneVolume
	output
	from, to string
}

func (c *volumeMove) Flags(f *Flags) {
	c.oneVolume.Flags(f)
	f.String(&c.from, "from", "host:port", "The server that holds it.", completeServers)
	f.String(&c.to, "to", "host:port", "The server that is to hold it.", completeServers)
	c.output.Flags(f)
}

func (c *volumeMove) Check(args []string) error {
	return c.check(args, "from", c.from, "to", c.to)
}

func (c *volumeMove) Run(ctx context.Context, e *Env) error {
	_, err := e.follow(ctx, func() (client.Copying, error) { return e.Client.MoveVolume(ctx, c.id, c.from, c.to) })
	if err != nil {
		return err
	}
	return c.print(e, copyReport{c.id, c.from, c.to}, func(w io.Writer) {
		fmt.Fprintf(w, "Volume %d is on %s, and no longer on %s.\n", c.id, c.to, c.from)
	})
}

type volumeAdopt struct {
	oneVolume
	output
	consent
	server string
}

func (c *volumeAdopt) Flags(f *Flags) {
	c.oneVolume.Flags(f)
	f.String(&c.server, "server", "host:port", "The server that holds the stray.", completeServers)
	c.consent.Flags(f)
	c.output.Flags(f)
}

func (c *volumeAdopt) Check(args []string) error {
	return c.check(args, "server", c.server)
}

func (c *volumeAdopt) Run(ctx context.Context, e *Env) error {
	volumes, err := listVolumes(ctx, e, c.id)
	if err != nil {
		return err
	}
	plan := fmt.Sprintf("What %s holds of volume %d is replaced by what its other copies have", c.server, c.id)
	if copiesOf(&volumes[0]) == 0 {
		plan = fmt.Sprintf("What %s holds is all that volume %d has from then on", c.server, c.id)
	}
	if err := c.obtain(ctx, e, plan); err != nil {
		return err
	}
	if _, err := e.follow(ctx, func() (client.Copying, error) { return e.Client.AdoptVolume(ctx, c.id, c.server) }); err != nil {
		return err
	}
	return c.print(e, copyReport{ID: c.id, To: c.server}, func(w io.Writer) {
		fmt.Fprintf(w, "The copy of volume %d on %s is one of the volume's.\n", c.id, c.server)
	})
}

type volumeBalance struct {
	noArgs
	output
	dry bool
}

func (c *volumeBalance) Flags(f *Flags) {
	f.Switch(&c.dry, "dry", "Only say what would be moved.")
	c.output.Flags(f)
}

// balanceReport is what volume.balance prints.
type balanceReport struct {
	Moves []client.Move `json:"moves"`
	Done  int           `json:"done"` // of them, from the first on
}

func (c *volumeBalance) Run(ctx context.Context, e *Env) error {
	moves, err := e.Client.PlanBalance(ctx)
	if err != nil {
		return err
	}
	report := balanceReport{Moves: moves}
	var failed error
	for i := 0; i < len(moves) && !c.dry && failed == nil; i++ {
		m := moves[i]
		_, failed = e.follow(ctx, func() (client.Copying, error) { return e.Client.MoveVolume(ctx, m.VolumeID, m.From, m.To) })
		if failed == nil {
			report.Done++
		}
	}
	return errors.Join(c.print(e, report, func(w io.Writer) {
		if len(moves) == 0 {
			fmt.Fprintln(w, "The slots are used evenly.")
			return
		}
		shown := moves
		if !c.dry {
			shown = moves[:report.Done]
		}
		t := newTable(">VOLUME", "FROM", "TO")
		for _, m := range shown {
			t.add(m.VolumeID, m.From, m.To)
		}
		t.write(w)
		if !c.dry {
			fmt.Fprintf(w, "%s moved.\n", count(report.Done, "volume"))
		}
	}), failed)
}

type serverDrain struct {
	output
	undo   bool
	server string
}

func (c *serverDrain) Flags(f *Flags) {
	f.Switch(&c.undo, "undo", "Use the server again. What has been moved stays where it is.")
	c.output.Flags(f)
}

func (c *serverDrain) Check(args []string) (err error) {
	c.server, err = oneArg(args, "the host:port of a server is")
	return err
}

// idlePolls is how often in a row nothing may move before server.drain ends.
const idlePolls = 60

func (c *serverDrain) Run(ctx context.Context, e *Env) error {
	if c.undo {
		d, err := e.Client.DrainServer(ctx, c.server, true)
		if err != nil {
			return explain(err)
		}
		return c.print(e, d, func(w io.Writer) { fmt.Fprintf(w, "%s is used again.\n", c.server) })
	}
	var d client.Drain
	idle := 0
	err := e.poll(ctx, func() (progress string, done bool, err error) {
		before := d.Left
		if d, err = e.Client.DrainServer(ctx, c.server, false); err != nil {
			return "", false, err
		}
		if idle++; len(d.Moving) > 0 || d.Left != before {
			idle = 0
		}
		if idle >= idlePolls {
			return "", false, c.stuck(&d)
		}
		return drainProgress(&d), d.Left == 0 && len(d.Moving) == 0, nil
	})
	if err != nil {
		return err
	}
	return c.print(e, d, func(w io.Writer) {
		fmt.Fprintf(w, "%s holds no volume any more and can be stopped.\n", c.server)
		if d.Strays > 0 {
			fmt.Fprintf(w, "It has %s that no volume needs: volume.list -server=%s\n", count(d.Strays, "stray copy", "stray copies"), c.server)
		}
	})
}

func drainProgress(d *client.Drain) string {
	var moving []string
	for _, m := range d.Moving {
		moving = append(moving, fmt.Sprint(m.VolumeID))
	}
	text := count(d.Left, "volume") + " left"
	if len(moving) > 0 {
		text += ", moving " + strings.Join(moving, " ")
	}
	return text
}

// stuck says why nothing moves.
func (c *serverDrain) stuck(d *client.Drain) error {
	text := fmt.Sprintf("%s left on %s, and nothing moves", count(d.Left, "volume"), c.server)
	if len(d.Stuck) > 0 {
		text += fmt.Sprintf("; volume %d: %s", d.Stuck[0].VolumeID, d.Stuck[0].Reason)
	}
	return errors.New(text)
}
