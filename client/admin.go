package client

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/valyala/fasthttp"

	"weed/internal/wire"
)

// Volume is one volume with all its copies that the masters know of.
type Volume struct {
	ID          uint32       `json:"id"`
	Collection  string       `json:"collection"`
	Replication string       `json:"replication"` // three digits xyz
	TTL         string       `json:"ttl"`
	Writable    bool         `json:"writable"`
	Primary     string       `json:"primary"` // url of the server that takes the writes, "" while there is none
	Copies      []VolumeCopy `json:"copies"`  // the primary's first, then by server
}

// VolumeCopy is one copy of a volume as its server last reported it.
type VolumeCopy struct {
	Server           string `json:"server"` // url, host:port
	DataCenter       string `json:"dataCenter"`
	Rack             string `json:"rack"`
	SizeBytes        uint64 `json:"sizeBytes"` // of the .dat file
	FileCount        uint64 `json:"fileCount"` // blobs that can be read
	DeleteCount      uint64 `json:"deleteCount"`
	DeletedByteCount uint64 `json:"deletedByteCount"` // what a vacuum would free
	ReadOnly         bool   `json:"readOnly"`
	ReadOnlyReason   string `json:"readOnlyReason,omitempty"`
	ModifiedAtSecond int64  `json:"modifiedAtSecond"` // unix seconds of the last change, 0 for never
	// Stray says that the copy contradicts the volume: it is of another collection, placement or ttl.
	Stray bool `json:"stray,omitempty"`
}

// Size returns the size of the largest copy in bytes, strays aside.
func (v *Volume) Size() (sizeBytes uint64) {
	for i := range v.Copies {
		if !v.Copies[i].Stray {
			sizeBytes = max(sizeBytes, v.Copies[i].SizeBytes)
		}
	}
	return sizeBytes
}

// reportedCopy is an entry of /vol/status.
type reportedCopy struct {
	wire.VolumeInfo
	Primary string
	Members []string
	State   string
}

// VolumeList asks the masters for all volumes, in order of their ids. The answer must not exceed 64 MiB, which
// is the copies of some 150,000 volumes.
func (c *Client) VolumeList(ctx context.Context) ([]Volume, error) {
	var answer struct {
		Volumes struct {
			DataCenters map[string]map[string]map[string][]reportedCopy
		}
	}
	if err := c.askMaster(ctx, "/vol/status", &answer); err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	byID := map[uint32]*Volume{}
	for dataCenter, racks := range answer.Volumes.DataCenters {
		for rack, servers := range racks {
			for server, copies := range servers {
				for i := range copies {
					addCopy(byID, &copies[i], VolumeCopy{Server: server, DataCenter: dataCenter, Rack: rack})
				}
			}
		}
	}
	volumes := make([]Volume, 0, len(byID))
	for _, v := range byID {
		slices.SortFunc(v.Copies, func(a, b VolumeCopy) int {
			if first := boolCompare(b.Server == v.Primary, a.Server == v.Primary); first != 0 {
				return first
			}
			return cmp.Compare(a.Server, b.Server)
		})
		volumes = append(volumes, *v)
	}
	slices.SortFunc(volumes, func(a, b Volume) int { return cmp.Compare(a.ID, b.ID) })
	return volumes, nil
}

// addCopy adds a copy, of which at says where it is, to its volume. What the volume is, is for its members to
// say.
func addCopy(byID map[uint32]*Volume, r *reportedCopy, at VolumeCopy) {
	v := byID[r.ID]
	if v == nil {
		v = &Volume{ID: r.ID}
		byID[r.ID] = v
	}
	at.SizeBytes, at.FileCount = r.SizeBytes, r.FileCount
	at.DeleteCount, at.DeletedByteCount = r.DeleteCount, r.DeletedByteCount
	at.ReadOnly, at.ReadOnlyReason = r.ReadOnly, r.ReadOnlyReason
	at.ModifiedAtSecond = r.ModifiedAtSecond
	at.Stray = !slices.Contains(r.Members, at.Server)
	if !at.Stray || len(v.Copies) == 0 {
		p := r.ReplicaPlacement
		v.Collection, v.TTL, v.Writable, v.Primary = r.Collection, r.TTL, r.State == "writable", r.Primary
		v.Replication = fmt.Sprintf("%d%d%d", p.DiffDataCenterCount, p.DiffRackCount, p.SameRackCount)
	}
	v.Copies = append(v.Copies, at)
}

// boolCompare orders false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Server is one volume server.
type Server struct {
	URL        string `json:"url"` // host:port
	PublicURL  string `json:"publicUrl"`
	DataCenter string `json:"dataCenter"`
	Rack       string `json:"rack"`
	Volumes    int    `json:"volumes"` // copies that it holds
	Free       int    `json:"free"`    // slots for more
	Max        int    `json:"max"`     // slots in all
}

// ServerList asks the masters for all volume servers that they hear of, ordered by data center, rack and url.
func (c *Client) ServerList(ctx context.Context) ([]Server, error) {
	var answer struct {
		Topology struct {
			DataCenters []struct {
				ID    string `json:"Id"`
				Racks []struct {
					ID        string `json:"Id"`
					DataNodes []Server
				}
			}
		}
	}
	if err := c.askMaster(ctx, "/dir/status", &answer); err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	servers := []Server{}
	for _, dataCenter := range answer.Topology.DataCenters {
		for _, rack := range dataCenter.Racks {
			for _, s := range rack.DataNodes {
				s.DataCenter, s.Rack = dataCenter.ID, rack.ID
				servers = append(servers, s)
			}
		}
	}
	return servers, nil
}

// Grow has the masters make n volumes of the kind and at the place that opts says; opts.Count is not used. It
// returns how many were made, which may be fewer. Errors: ErrInvalid (n is too many for the free slots, a
// parameter is malformed), ErrNoFreeVolumes (the placement can't be met), ErrUnavailable.
func (c *Client) Grow(ctx context.Context, n int, opts AssignOptions) (made int, err error) {
	if n < 1 {
		return 0, fmt.Errorf("grow: %w", invalid("%d volumes", n))
	}
	opts.Count = n
	var answer struct {
		Count int `json:"count"`
	}
	if err := c.tellMaster(ctx, "/vol/grow"+opts.query(), &answer); err != nil {
		return 0, fmt.Errorf("grow: %w", err)
	}
	return answer.Count, nil
}

// MarkVolume sets or clears the operator's read-only mark on all copies of a volume and returns their servers.
// A volume that is read-only for another reason stays so. On error some copies may be marked. Errors:
// ErrNotFound, ErrUnavailable, a *StatusError that names the servers that failed.
func (c *Client) MarkVolume(ctx context.Context, id uint32, readOnly bool) (servers []string, err error) {
	var answer struct {
		Servers []string `json:"servers"`
	}
	path := fmt.Sprintf("/vol/mark?volumeId=%d&readonly=%t", id, readOnly)
	if err := c.tellMaster(ctx, path, &answer); err != nil {
		return nil, fmt.Errorf("mark volume %d: %w", id, err)
	}
	return answer.Servers, nil
}

// DeleteCollection deletes all volumes of a collection with their blobs. Errors: ErrInvalid when there is no
// such collection, ErrUnavailable, a *StatusError that says how many volumes are left.
func (c *Client) DeleteCollection(ctx context.Context, name string) error {
	if name == "" {
		return fmt.Errorf("delete collection: %w", invalid("a collection without a name"))
	}
	if err := c.tellMaster(ctx, "/col/delete?collection="+url.QueryEscape(name), nil); err != nil {
		return fmt.Errorf("delete collection %s: %w", name, err)
	}
	return nil
}

// RemoveMaster takes a master out of the cluster. It goes on running until it is stopped, and would ask to be
// added again when it is started with the others as its peers. Errors: ErrNotFound when it is none of the
// masters, a *StatusError when it is the last one, ErrUnavailable.
func (c *Client) RemoveMaster(ctx context.Context, address string) error {
	if err := c.tellMaster(ctx, "/cluster/remove?peer="+url.QueryEscape(address), nil); err != nil {
		return fmt.Errorf("remove master %s: %w", address, err)
	}
	return nil
}

// TransferLeadership hands leadership to the master to, or to any other one for "", and returns who leads
// then. Errors: ErrNotFound when it is none of the masters, a *StatusError when nobody can take over,
// ErrUnavailable.
func (c *Client) TransferLeadership(ctx context.Context, to string) (leader string, err error) {
	path := "/cluster/transfer"
	if to != "" {
		path += "?peer=" + url.QueryEscape(to)
	}
	var answer struct {
		Leader string `json:"leader"`
	}
	if err := c.tellMaster(ctx, path, &answer); err != nil {
		return "", fmt.Errorf("transfer leadership: %w", err)
	}
	return answer.Leader, nil
}

// tellMaster posts an order to a master that knows a leader. The order is sent once, unless the masters answer
// that they have lost their leader meanwhile: then it was not carried out, or was broken off, and is sent again
// as Config.RetryWait allows.
func (c *Client) tellMaster(ctx context.Context, path string, out any) error {
	for p := c.patience(); ; {
		if err := c.askMaster(ctx, "/readyz", nil); err != nil {
			return err
		}
		o := outgoing{method: fasthttp.MethodPost, host: c.cfg.Masters[c.master.Load()], path: path}
		err := c.callJSON(ctx, &o, out)
		if err == nil || !p.wait(ctx, err) {
			return orContext(ctx, err)
		}
	}
}
