package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/valyala/fasthttp"
)

// AssignOptions says what is wanted of the volume that a blob goes to. The zero value leaves all to the
// masters.
type AssignOptions struct {
	Count       int    // number of fids, 0 means 1
	Collection  string // "" is the default collection
	Replication string // three digits xyz, "" is the masters' default
	TTL         string // "3m", "4h", "5d" …, "" is for ever
	DataCenter  string
	Rack        string
	DataNode    string // host:port of a volume server
}

// Assignment is a place to write to.
type Assignment struct {
	FID       string `json:"fid"`
	URL       string `json:"url"` // host:port of the volume server to write to
	PublicURL string `json:"publicUrl"`
	Count     int    `json:"count"` // fids that were assigned
}

// At returns the i-th of the assigned fids, 0 <= i < Count.
func (a Assignment) At(i int) string {
	if i == 0 {
		return a.FID
	}
	return a.FID + "_" + strconv.Itoa(i)
}

// Assign asks the masters for fids. Errors: ErrNoFreeVolumes, ErrInvalid (an unknown data center, a
// malformed ttl …), ErrUnavailable.
func (c *Client) Assign(ctx context.Context, opts AssignOptions) (Assignment, error) {
	var a Assignment
	if err := c.askMaster(ctx, "/dir/assign"+opts.query(), &a); err != nil {
		return Assignment{}, fmt.Errorf("assign: %w", err)
	}
	if a.FID == "" || a.URL == "" {
		return Assignment{}, fmt.Errorf("assign: %w: the master named no fid", ErrUnavailable)
	}
	return a, nil
}

func (o *AssignOptions) query() string {
	b := make([]byte, 0, 96)
	add := func(name, value string) {
		if value == "" {
			return
		}
		sep := byte('&')
		if len(b) == 0 {
			sep = '?'
		}
		b = append(b, sep)
		b = append(b, name...)
		b = append(b, '=')
		b = append(b, url.QueryEscape(value)...)
	}
	if o.Count != 0 {
		add("count", strconv.Itoa(o.Count))
	}
	add("collection", o.Collection)
	add("replication", o.Replication)
	add("ttl", o.TTL)
	add("dataCenter", o.DataCenter)
	add("rack", o.Rack)
	add("dataNode", o.DataNode)
	return string(b)
}

// ClusterStatus is what a master knows of the masters, addresses as host:port.
type ClusterStatus struct {
	IsLeader bool     `json:"IsLeader"` // whether the master that answered leads
	Leader   string   `json:"Leader"`   // "" while there is none
	Peers    []string `json:"Peers"`    // the other masters
	Members  []Member `json:"Members"`  // all masters, in the order in which they joined
}

// Member is one master of the cluster.
type Member struct {
	Address string `json:"Address"` // host:port
	Voter   bool   `json:"Voter"`   // whether it counts for a majority and may lead
	Leader  bool   `json:"Leader"`
}

// ClusterStatus asks one of the masters who they are and who leads.
func (c *Client) ClusterStatus(ctx context.Context) (ClusterStatus, error) {
	var s ClusterStatus
	if err := c.askMaster(ctx, "/cluster/status", &s); err != nil {
		return ClusterStatus{}, fmt.Errorf("cluster status: %w", err)
	}
	return s, nil
}

// MasterStatus asks the master at address, which need not be among Config.Masters, what it knows of the masters.
func (c *Client) MasterStatus(ctx context.Context, address string) (ClusterStatus, error) {
	var s ClusterStatus
	err := c.GetJSON(ctx, address, "/cluster/status", &s)
	return s, err
}

// askMaster gets path from the masters in turn, beginning with the one that answered last, and decodes the
// answer. While they have no leader it waits as they ask.
func (c *Client) askMaster(ctx context.Context, path string, out any) error {
	n := len(c.cfg.Masters)
	if n == 0 {
		return invalid("the client was given no masters")
	}
	for p := c.patience(); ; {
		var waitFor, last error
		first := int(c.master.Load())
		for i := range n {
			k := (first + i) % n
			o := outgoing{method: fasthttp.MethodGet, host: c.cfg.Masters[k], path: path, idempotent: true}
			err := c.callJSON(ctx, &o, out)
			if err == nil || !tryNextMaster(err) {
				c.master.Store(int32(k))
				return err
			}
			if last = err; retryAfter(err) > 0 {
				waitFor = err
			}
		}
		if waitFor == nil {
			return last
		}
		if !p.wait(ctx, waitFor) {
			return orContext(ctx, waitFor)
		}
	}
}

// tryNextMaster reports whether another master may do better: a 500 is the leader's own answer, which a
// follower would only pass on.
func tryNextMaster(err error) bool { return errors.Is(err, ErrUnavailable) }
