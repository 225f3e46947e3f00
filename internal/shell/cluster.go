package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"weed/client"
)

var clusterCommands = []Spec{
	{
		Name: "cluster.status", Short: "List the masters, which one leads, and which ones answer.",
		Example: "cluster.status -json",
		New:     func() Command { return new(clusterStatus) },
	},
	{
		Name: "cluster.remove", Args: "master", Short: "Take a master out of the cluster.",
		Long: "Stop it afterwards, and take it out of the -peers of the others: a master that starts with\n" +
			"-peers joins the cluster of these again.",
		Example: "cluster.remove 127.0.0.1:9335", Complete: completeMasters,
		New: func() Command { return new(clusterRemove) },
	},
	{
		Name: "cluster.transfer", Args: "[master]", Short: "Hand leadership to another master, any one unless it is named.",
		Example: "cluster.transfer 127.0.0.1:9334", Complete: completeMasters,
		New: func() Command { return new(clusterTransfer) },
	},
}

// patience is how long a master may take to say how it is.
const patience = 3 * time.Second

// masterReport is one master as cluster.status prints it.
type masterReport struct {
	Address   string `json:"address"`
	Voter     bool   `json:"voter"`
	Leader    bool   `json:"leader"`
	Reachable bool   `json:"reachable"`
	Error     string `json:"error,omitempty"` // why it is not reachable
}

type clusterReport struct {
	Leader  string         `json:"leader"` // "" while there is none
	Masters []masterReport `json:"masters"`
}

type clusterStatus struct {
	noArgs
	output
}

func (c *clusterStatus) Run(ctx context.Context, e *Env) error {
	status, err := e.Client.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	report := clusterReport{Leader: status.Leader, Masters: make([]masterReport, len(status.Members))}
	var wg sync.WaitGroup
	for i, m := range status.Members {
		wg.Go(func() {
			report.Masters[i] = masterReport{Address: m.Address, Voter: m.Voter, Leader: m.Leader, Reachable: true}
			within, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if _, err := e.Client.MasterStatus(within, m.Address); err != nil {
				report.Masters[i].Reachable, report.Masters[i].Error = false, reason(err)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	slices.SortFunc(report.Masters, func(a, b masterReport) int { return strings.Compare(a.Address, b.Address) })
	return c.print(e, report, report.write)
}

// reason is a short form of why a master could not be asked.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", patience)
	}
	text := explain(err).Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

func (r *clusterReport) write(w io.Writer) {
	t := newTable("MASTER", "ROLE", "STATE")
	for _, m := range r.Masters {
		role, state := "follower", "up"
		switch {
		case m.Leader:
			role = "leader"
		case !m.Voter:
			role = "joining"
		}
		if !m.Reachable {
			state = "down: " + m.Error
		}
		t.add(m.Address, role, state)
	}
	t.write(w)
	if r.Leader == "" {
		fmt.Fprintln(w, "There is no leader: a majority of the masters must be up.")
	}
}

type clusterRemove struct {
	output
	consent
	master string
}

func (c *clusterRemove) Flags(f *Flags) {
	c.output.Flags(f)
	c.consent.Flags(f)
}

func (c *clusterRemove) Check(args []string) (err error) {
	c.master, err = oneArg(args, "the host:port of a master is")
	return err
}

func (c *clusterRemove) Run(ctx context.Context, e *Env) error {
	status, err := e.Client.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	if len(status.Members) == 1 {
		return errors.New("there is only one master, and the cluster can't be without one")
	}
	if err := c.obtain(ctx, e, c.plan(status)); err != nil {
		return err
	}
	if err := e.Client.RemoveMaster(ctx, c.master); err != nil {
		return err
	}
	return c.print(e, map[string]string{"removed": c.master}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is no longer one of the masters.\n", c.master)
	})
}

// plan says what the removal comes to.
func (c *clusterRemove) plan(status client.ClusterStatus) string {
	left := len(status.Members) - 1
	plan := fmt.Sprintf("This takes %s out of the cluster and leaves %s, of which %d must be up to decide anything",
		c.master, count(left, "master"), left/2+1)
	if c.master == status.Leader {
		plan += "; it leads now, and the others elect another leader"
	}
	return plan
}

type clusterTransfer struct {
	output
	to string
}

func (c *clusterTransfer) Check(args []string) (err error) {
	if len(args) > 0 {
		c.to, err = oneArg(args, "the host:port of a master is")
	}
	return err
}

func (c *clusterTransfer) Run(ctx context.Context, e *Env) error {
	leader, err := e.Client.TransferLeadership(ctx, c.to)
	if err != nil {
		return err
	}
	return c.print(e, map[string]string{"leader": leader}, func(w io.Writer) { fmt.Fprintf(w, "%s leads.\n", leader) })
}

func completeMasters(ctx context.Context, e *Env) ([]string, error) {
	status, err := e.Client.ClusterStatus(ctx)
	var masters []string
	for _, m := range status.Members {
		masters = append(masters, m.Address)
	}
	return masters, err
}
