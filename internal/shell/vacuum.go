package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"

	"weed/client"
	"weed/internal/blob"
)

type volumeVacuum struct {
	noArgs
	output
	threshold string
	volume    string
	opts      client.VacuumOptions
}

func (c *volumeVacuum) Flags(f *Flags) {
	f.String(&c.threshold, "garbageThreshold", "share", "The share of a volume's bytes, 0 to 1, that must be deleted; what the "+
		"masters were started with by default.", nil)
	f.String(&c.volume, "volumeId", "id", "Only this volume.", completeVolumes)
	c.output.Flags(f)
}

func (c *volumeVacuum) Check(args []string) error {
	if c.threshold != "" {
		share, err := strconv.ParseFloat(c.threshold, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return usageErrorf("-garbageThreshold: %q is not a share from 0 to 1", c.threshold)
		}
		c.opts.GarbageThreshold = &share
	}
	if c.volume != "" {
		id, err := blob.ParseVolumeID(c.volume)
		if err != nil {
			return usageErrorf("-volumeId: %q is no volume id", c.volume)
		}
		c.opts.Volume = uint32(id)
	}
	return c.noArgs.Check(args)
}

// vacuumReport is one volume that volume.vacuum made smaller.
type vacuumReport struct {
	ID     uint32 `json:"id"`
	Before uint64 `json:"bytesBefore"`
	After  uint64 `json:"bytesAfter"`
}

func (c *volumeVacuum) Run(ctx context.Context, e *Env) error {
	before, err := e.Client.VolumeList(ctx)
	if err != nil {
		return err
	}
	if c.opts.Volume != 0 && !slices.ContainsFunc(before, func(v client.Volume) bool { return v.ID == c.opts.Volume }) {
		return fmt.Errorf("there is no volume %d", c.opts.Volume)
	}
	if err := e.Client.Vacuum(ctx, c.opts); err != nil {
		return explain(err)
	}
	after, err := e.Client.VolumeList(ctx)
	if err != nil {
		return err
	}
	reports := []vacuumReport{}
	for i := range after {
		at := slices.IndexFunc(before, func(v client.Volume) bool { return v.ID == after[i].ID })
		if at >= 0 && after[i].Size() < before[at].Size() {
			reports = append(reports, vacuumReport{after[i].ID, before[at].Size(), after[i].Size()})
		}
	}
	return c.print(e, reports, func(w io.Writer) {
		for _, r := range reports {
			fmt.Fprintf(w, "Volume %d: %s of %s freed.\n", r.ID, size(r.Before-r.After), size(r.Before))
		}
		if len(reports) == 0 {
			fmt.Fprintln(w, "No volume was made smaller.")
		}
	})
}
