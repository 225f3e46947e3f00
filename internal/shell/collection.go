package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"weed/client"
)

var collectionCommands = []Spec{
	{
		Name: "collection.list", Short: "List the collections with their volumes and sizes.",
		Example: "collection.list",
		New:     func() Command { return new(collectionList) },
	},
	{
		Name: "collection.delete", Args: "collection", Short: "Delete a collection: all its volumes with all that is in them.",
		Example: "collection.delete pictures", Complete: completeCollections,
		New: func() Command { return new(collectionDelete) },
	},
}

// collectionReport is one collection as collection.list prints it.
type collectionReport struct {
	Name             string `json:"name"` // "" is the default collection
	Volumes          int    `json:"volumes"`
	Writable         int    `json:"writable"`  // volumes that take blobs
	Copies           int    `json:"copies"`    // of all volumes
	FileCount        uint64 `json:"fileCount"` // of one copy of each volume, as are the bytes
	SizeBytes        uint64 `json:"sizeBytes"`
	DeletedByteCount uint64 `json:"deletedByteCount"` // what a vacuum would free
}

// collections sums volumes up, by name.
func collections(volumes []client.Volume) []collectionReport {
	byName := map[string]*collectionReport{}
	for i := range volumes {
		v := &volumes[i]
		r := byName[v.Collection]
		if r == nil {
			r = &collectionReport{Name: v.Collection}
			byName[v.Collection] = r
		}
		r.Volumes++
		if v.Writable {
			r.Writable++
		}
		r.Copies += copiesOf(v)
		if c := contents(v); c != nil {
			r.FileCount += c.FileCount
			r.DeletedByteCount += c.DeletedByteCount
		}
		r.SizeBytes += v.Size()
	}
	reports := make([]collectionReport, 0, len(byName))
	for _, r := range byName {
		reports = append(reports, *r)
	}
	slices.SortFunc(reports, func(a, b collectionReport) int { return strings.Compare(a.Name, b.Name) })
	return reports
}

type collectionList struct {
	noArgs
	output
}

func (c *collectionList) Run(ctx context.Context, e *Env) error {
	volumes, err := e.Client.VolumeList(ctx)
	if err != nil {
		return err
	}
	reports := collections(volumes)
	return c.print(e, reports, func(w io.Writer) {
		t := newTable("COLLECTION", ">VOLUMES", ">WRITABLE", ">COPIES", ">FILES", ">SIZE", ">GARBAGE")
		for _, r := range reports {
			t.add(r.Name, r.Volumes, r.Writable, r.Copies, r.FileCount, size(r.SizeBytes), size(r.DeletedByteCount))
		}
		t.write(w)
	})
}

type collectionDelete struct {
	output
	consent
	name string
}

func (c *collectionDelete) Flags(f *Flags) {
	c.output.Flags(f)
	c.consent.Flags(f)
}

func (c *collectionDelete) Check(args []string) (err error) {
	c.name, err = oneArg(args, "the name of a collection is")
	return err
}

func (c *collectionDelete) Run(ctx context.Context, e *Env) error {
	volumes, err := e.Client.VolumeList(ctx)
	if err != nil {
		return err
	}
	reports := collections(volumes)
	i := slices.IndexFunc(reports, func(r collectionReport) bool { return r.Name == c.name })
	if i < 0 {
		return fmt.Errorf("there is no collection %s", c.name)
	}
	r := &reports[i]
	plan := fmt.Sprintf("This deletes collection %s for ever: %s in %s of %s, %s", c.name, count(int(r.FileCount), "file"),
		count(r.Copies, "copy", "copies"), count(r.Volumes, "volume"), size(r.SizeBytes))
	if err := c.obtain(ctx, e, plan); err != nil {
		return err
	}
	if err := e.Client.DeleteCollection(ctx, c.name); err != nil {
		return err
	}
	return c.print(e, struct {
		Collection string `json:"collection"`
		Volumes    int    `json:"volumes"`
	}{c.name, r.Volumes}, func(w io.Writer) {
		fmt.Fprintf(w, "Collection %s is deleted.\n", c.name)
	})
}

func completeCollections(ctx context.Context, e *Env) ([]string, error) {
	volumes, err := e.Client.VolumeList(ctx)
	var names []string
	for _, r := range collections(volumes) {
		names = append(names, r.Name)
	}
	return names, err
}
