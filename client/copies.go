package client

import (
	"context"
	"fmt"
	"net/url"
)

// Copying says how far a change of who holds a volume is. Such an order takes time: whoever gives it gives it again,
// once a second or so, until it is Done or fails. The masters forget nothing of it meanwhile but why it failed, which
// they say once.
type Copying struct {
	VolumeID uint32 `json:"volumeId"`
	From     string `json:"from,omitempty"` // server that is to hold it no more, "" for none
	To       string `json:"to,omitempty"`   // server that is to hold it
	Doing    string `json:"doing,omitempty"`
	Bytes    int64  `json:"bytes"` // of the volume's log that have arrived
	Of       int64  `json:"of"`
	Done     bool   `json:"done"`
}

// MoveVolume has the masters move a copy of a volume from one server to another. Errors: ErrNotFound when there is
// no such volume, ErrInvalid when there is no such server, ErrUnavailable, a *StatusError that says what is in the
// way: the placement, no room, another change of the volume.
func (c *Client) MoveVolume(ctx context.Context, id uint32, from, to string) (Copying, error) {
	return c.copying(ctx, "move", "/vol/move", id, url.Values{"from": {from}, "to": {to}})
}

// ReplicateVolume has the masters make a missing copy of a volume now, on a server of their choice for "". It is done
// when the volume has all its copies. Errors: those of MoveVolume.
func (c *Client) ReplicateVolume(ctx context.Context, id uint32, to string) (Copying, error) {
	values := url.Values{}
	if to != "" {
		values.Set("to", to)
	}
	return c.copying(ctx, "replicate", "/vol/replicate", id, values)
}

// AdoptVolume has the masters make the copy of a volume that a server holds, and that is a stray, one of the volume's.
// If other copies are alive its content becomes theirs; if none is, theirs becomes its. Errors: those of MoveVolume.
func (c *Client) AdoptVolume(ctx context.Context, id uint32, server string) (Copying, error) {
	return c.copying(ctx, "adopt", "/vol/adopt", id, url.Values{"server": {server}})
}

func (c *Client) copying(ctx context.Context, verb, path string, id uint32, values url.Values) (answer Copying, err error) {
	values.Set("volumeId", fmt.Sprint(id))
	if err := c.tellMaster(ctx, path+"?"+values.Encode(), &answer); err != nil {
		return Copying{}, fmt.Errorf("%s volume %d: %w", verb, id, err)
	}
	return answer, nil
}

// Drain says how far the emptying of a server is.
type Drain struct {
	Server   string    `json:"server"`
	Draining bool      `json:"draining"`
	Left     int       `json:"left"`   // volumes that it still holds
	Strays   int       `json:"strays"` // copies that belong to no volume, and stay
	Moving   []Copying `json:"moving"`
	Stuck    []struct {
		VolumeID uint32 `json:"volumeId"`
		Reason   string `json:"reason"`
	} `json:"stuck"` // some of the volumes that have no other place at the moment
}

// DrainServer has the masters move all volumes off a server, and put nothing new on it; with undo they stop. Like
// MoveVolume it is to be called until nothing is left. Errors: ErrNotFound when there is no such server,
// ErrUnavailable, a *StatusError when there is no room elsewhere.
func (c *Client) DrainServer(ctx context.Context, server string, undo bool) (answer Drain, err error) {
	values := url.Values{"server": {server}}
	if undo {
		values.Set("undo", "true")
	}
	if err := c.tellMaster(ctx, "/server/drain?"+values.Encode(), &answer); err != nil {
		return Drain{}, fmt.Errorf("drain server %s: %w", server, err)
	}
	return answer, nil
}

// Move is a copy that would better be on another server.
type Move struct {
	VolumeID uint32 `json:"volumeId"`
	From     string `json:"from"`
	To       string `json:"to"`
}

// PlanBalance asks the masters for the moves after which the slots of all servers are used evenly. Nothing is moved.
func (c *Client) PlanBalance(ctx context.Context) ([]Move, error) {
	var answer struct {
		Moves []Move `json:"moves"`
	}
	if err := c.askMaster(ctx, "/vol/balance", &answer); err != nil {
		return nil, fmt.Errorf("plan moves: %w", err)
	}
	return answer.Moves, nil
}
