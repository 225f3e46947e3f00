package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"weed/client"
	"weed/internal/blob"
)

var volumeCommands = []Spec{
	{
		Name: "volume.list", Args: "[volumeId…]", Short: "List volumes: all, or those that are named and that the flags select.",
		Long: "COPIES counts those that are there and those that the replication asks for. The primary is the first server.\n" +
			"A dash stands for what no server has told the leading master yet.",
		Example: "volume.list -collection=pictures -server=127.0.0.1:8080", Complete: completeVolumes,
		New: func() Command { return new(volumeList) },
	},
	{
		Name: "volume.grow", Short: "Make volumes ahead of need.",
		Example: "volume.grow -count=4 -collection=pictures -replication=001",
		New:     func() Command { return &volumeGrow{count: 1} },
	},
	{
		Name: "volume.mark", Args: "volumeId…", Short: "Make all copies of volumes read-only, or writable again.",
		Long: "-writable takes back -readonly. A volume that is read-only for another reason stays so: volume.list\n" +
			"tells the reason.",
		Example: "volume.mark -readonly 3 4", Complete: completeVolumes,
		New: func() Command { return new(volumeMark) },
	},
	{
		Name: "volume.vacuum", Short: "Free the room that deleted and replaced blobs take.",
		Long: "It returns when that is done. Reads and writes go on meanwhile. Volumes of which a copy is missing are\n" +
			"passed over; the log of the leading master says why a volume was not vacuumed.",
		Example: "volume.vacuum -garbageThreshold=0.1 -volumeId=3",
		New:     func() Command { return new(volumeVacuum) },
	},
}

// listVolumes lists the volumes of some ids, all for none. One that is not there is an error.
func listVolumes(ctx context.Context, e *Env, ids ...uint32) ([]client.Volume, error) {
	volumes, err := e.Client.VolumeList(ctx)
	if err != nil || len(ids) == 0 {
		return volumes, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(volumes, func(v client.Volume) bool { return v.ID == id }) {
			return nil, fmt.Errorf("there is no volume %d", id)
		}
	}
	return slices.DeleteFunc(volumes, func(v client.Volume) bool { return !slices.Contains(ids, v.ID) }), nil
}

// parseVolumes reads volume ids.
func parseVolumes(args []string) ([]uint32, error) {
	var ids []uint32
	for _, arg := range args {
		id, err := blob.ParseVolumeID(arg)
		if err != nil {
			return nil, usageErrorf("%q is no volume id", arg)
		}
		ids = append(ids, uint32(id))
	}
	return ids, nil
}

// copiesOf counts the copies, strays aside.
func copiesOf(v *client.Volume) (n int) {
	for i := range v.Copies {
		if !v.Copies[i].Stray {
			n++
		}
	}
	return n
}

// contents returns the copy that tells what a volume holds: the primary's, or another one while that has not
// reported; nil while none has. A master that has just begun to lead knows of copies, but not yet what is in them.
func contents(v *client.Volume) *client.VolumeCopy {
	for i := range v.Copies {
		if c := &v.Copies[i]; !c.Stray && c.SizeBytes > 0 { // the file of a copy has a superblock at least
			return c
		}
	}
	return nil
}

// figures writes what a volume holds for a table; nothing where it is not known.
func figures(v *client.Volume) (files, used, garbage string) {
	c := contents(v)
	if c == nil {
		return "", "", ""
	}
	return strconv.FormatUint(c.FileCount, 10), size(v.Size()), size(c.DeletedByteCount)
}

// wanted counts the copies that the placement asks for.
func wanted(v *client.Volume) int {
	placement, err := blob.ParsePlacement(v.Replication)
	if err != nil {
		return 1
	}
	return placement.Copies()
}

type volumeList struct {
	output
	collection string
	server     string
	ids        []uint32
}

func (c *volumeList) Flags(f *Flags) {
	f.String(&c.collection, "collection", "name", "Only volumes of this collection.", completeCollections)
	f.String(&c.server, "server", "host:port", "Only volumes of which this server holds a copy.", completeServers)
	c.output.Flags(f)
}

func (c *volumeList) Check(args []string) (err error) {
	c.ids, err = parseVolumes(args)
	return err
}

func (c *volumeList) selects(v *client.Volume) bool {
	return (c.collection == "" || v.Collection == c.collection) &&
		(c.server == "" || slices.ContainsFunc(v.Copies, func(at client.VolumeCopy) bool { return at.Server == c.server }))
}

func (c *volumeList) Run(ctx context.Context, e *Env) error {
	volumes, err := listVolumes(ctx, e, c.ids...)
	if err != nil {
		return err
	}
	volumes = slices.DeleteFunc(volumes, func(v client.Volume) bool { return !c.selects(&v) })
	return c.print(e, volumes, func(w io.Writer) {
		t := newTable(">VOLUME", "COLLECTION", "REPLICATION", "TTL", ">COPIES", ">FILES", ">SIZE", ">GARBAGE", "STATE", "SERVERS")
		for i := range volumes {
			v := &volumes[i]
			files, used, garbage := figures(v)
			t.add(v.ID, v.Collection, v.Replication, v.TTL, fmt.Sprintf("%d/%d", copiesOf(v), wanted(v)), files,
				used, garbage, stateOf(v), serversOf(v))
		}
		t.write(w)
	})
}

// stateOf says whether a volume takes blobs, and why it does not where that is known.
func stateOf(v *client.Volume) string {
	if v.Writable {
		return "writable"
	}
	var reasons []string
	add := func(reason string) {
		if reason != "" && !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	for i := range v.Copies {
		if c := &v.Copies[i]; c.ReadOnly && !c.Stray {
			for reason := range strings.SplitSeq(c.ReadOnlyReason, ", ") {
				add(reason)
			}
		}
	}
	if copiesOf(v) < wanted(v) {
		add("copies missing")
	}
	if len(reasons) == 0 {
		return "read-only"
	}
	return "read-only: " + strings.Join(reasons, ", ")
}

func serversOf(v *client.Volume) string {
	var servers []string
	for i := range v.Copies {
		server := v.Copies[i].Server
		if v.Copies[i].Stray {
			server += " (stray)"
		}
		servers = append(servers, server)
	}
	return strings.Join(servers, " ")
}

type volumeGrow struct {
	noArgs
	output
	count int
	like  client.AssignOptions
}

func (c *volumeGrow) Flags(f *Flags) {
	f.Count(&c.count, "count", "number", "How many to make, 1 by default.")
	f.String(&c.like.Collection, "collection", "name", "The collection that they are for.", completeCollections)
	f.String(&c.like.Replication, "replication", "xyz", "Three digits for their copies; what the masters say by default.", nil)
	f.String(&c.like.TTL, "ttl", "time", "How long their blobs live, such as 3m, 4h or 5d; for ever by default.", nil)
	f.String(&c.like.DataCenter, "dataCenter", "name", "Where their primaries must be.", completeDataCenters)
	f.String(&c.like.Rack, "rack", "name", "Where in the data center.", completeRacks)
	c.output.Flags(f)
}

func (c *volumeGrow) Check(args []string) error {
	if _, err := blob.ParsePlacement(c.like.Replication); err != nil {
		return usageErrorf("-replication: %v", err)
	}
	if _, err := blob.ParseTTL(c.like.TTL); err != nil {
		return usageErrorf("-ttl: %v", err)
	}
	return c.noArgs.Check(args)
}

func (c *volumeGrow) Run(ctx context.Context, e *Env) error {
	made, err := e.Client.Grow(ctx, c.count, c.like)
	if err != nil {
		return err
	}
	err = c.print(e, map[string]int{"asked": c.count, "made": made}, func(w io.Writer) {
		fmt.Fprintf(w, "%s made.\n", count(made, "volume"))
	})
	if err == nil && made < c.count {
		return fmt.Errorf("only %d of %s could be made: the log of the leader says why", made, count(c.count, "volume"))
	}
	return err
}

type volumeMark struct {
	output
	readOnly, writable bool
	ids                []uint32
}

func (c *volumeMark) Flags(f *Flags) {
	f.Switch(&c.readOnly, "readonly", "Take no more blobs.")
	f.Switch(&c.writable, "writable", "Take blobs again.")
	c.output.Flags(f)
}

func (c *volumeMark) Check(args []string) (err error) {
	switch {
	case c.readOnly == c.writable:
		return usageErrorf("give either -readonly or -writable")
	case len(args) == 0:
		return usageErrorf("the id of a volume is needed")
	}
	c.ids, err = parseVolumes(args)
	return err
}

// markReport is one volume as volume.mark prints it.
type markReport struct {
	ID       uint32   `json:"id"`
	ReadOnly bool     `json:"readOnly"` // what the operator wants
	Servers  []string `json:"servers"`  // all that hold a copy
}

func (c *volumeMark) Run(ctx context.Context, e *Env) error {
	reports := []markReport{} // of those that are done, also when another fails
	var failed error
	for _, id := range c.ids {
		servers, err := e.Client.MarkVolume(ctx, id, c.readOnly)
		if err != nil {
			failed = err
			break
		}
		reports = append(reports, markReport{id, c.readOnly, servers})
	}
	err := c.print(e, reports, func(w io.Writer) {
		state := "no longer marked read-only"
		if c.readOnly {
			state = "marked read-only"
		}
		for _, r := range reports {
			fmt.Fprintf(w, "Volume %d is %s on %s.\n", r.ID, state, strings.Join(r.Servers, ", "))
		}
	})
	return errors.Join(err, failed)
}

func completeVolumes(ctx context.Context, e *Env) ([]string, error) {
	volumes, err := e.Client.VolumeList(ctx)
	var ids []string
	for i := range volumes {
		ids = append(ids, strconv.FormatUint(uint64(volumes[i].ID), 10))
	}
	return ids, err
}
