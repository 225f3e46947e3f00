package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"weed/client"
)

var checkCommands = []Spec{
	{
		Name: "volume.check", Args: "[volumeId…]", Short: "Compare the copies of volumes byte by byte: all, or those that are named.",
		Long: "Each server reads its copies once, at the rate of -scrubMBps; blobs may be written and read meanwhile. It\n" +
			"fails when copies differ, or can't be compared. -scrub has the servers check every blob first, and replace\n" +
			"what is damaged by what another copy has; it fails when damage is left.",
		Example: "volume.check -scrub 3 4", Complete: completeVolumes,
		New: func() Command { return new(volumeCheck) },
	},
}

type volumeCheck struct {
	output
	volumeID string
	scrub    bool
	ids      []uint32
}

func (c *volumeCheck) Flags(f *Flags) {
	f.String(&c.volumeID, "volumeId", "id", "The same as an argument.", completeVolumes)
	f.Switch(&c.scrub, "scrub", "Check every blob, and mend what is damaged.")
	c.output.Flags(f)
}

func (c *volumeCheck) Check(args []string) (err error) {
	if c.volumeID != "" {
		args = append([]string{c.volumeID}, args...)
	}
	c.ids, err = parseVolumes(args)
	return err
}

// checkReport is one volume as volume.check prints it.
type checkReport struct {
	client.VolumeCheck
	Collection string               `json:"collection"`
	Scrubs     []client.VolumeScrub `json:"scrubs,omitempty"`
}

func (c *volumeCheck) Run(ctx context.Context, e *Env) error {
	volumes, err := listVolumes(ctx, e, c.ids...)
	if err != nil {
		return err
	}
	reports, bad := []checkReport{}, 0
	for i := range volumes {
		v := &volumes[i]
		r := checkReport{Collection: v.Collection}
		if c.scrub {
			r.Scrubs = scrubCopies(ctx, e, v)
		}
		if r.VolumeCheck, err = e.Client.CheckVolume(ctx, v); err != nil {
			return err
		}
		reports = append(reports, r)
		if !r.good() {
			bad++
		}
	}
	if err := c.print(e, reports, func(w io.Writer) { printChecks(w, reports) }); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %s: copies differ, are damaged, or could not be compared", bad, count(len(reports), "volume"))
	}
	return nil
}

// scrubCopies has the servers of a volume read it again, one after the other, since they mend from each other.
func scrubCopies(ctx context.Context, e *Env, v *client.Volume) (scrubs []client.VolumeScrub) {
	for i := range v.Copies {
		if v.Copies[i].Stray {
			continue
		}
		s, err := e.Client.ScrubVolume(ctx, v.Copies[i].Server, v.ID)
		if s.Server = v.Copies[i].Server; err != nil {
			s.Error = explain(err).Error()
		}
		scrubs = append(scrubs, s)
	}
	return scrubs
}

func (r *checkReport) good() bool {
	return r.Identical && !slices.ContainsFunc(r.Scrubs, func(s client.VolumeScrub) bool { return s.Error != "" || len(s.Damaged) > 0 })
}

func printChecks(w io.Writer, reports []checkReport) {
	t := newTable(">VOLUME", "COLLECTION", ">COPIES", ">LENGTH", "STATE", "SERVERS")
	for i := range reports {
		r := &reports[i]
		var servers []string
		for _, at := range r.Copies {
			servers = append(servers, at.Server)
		}
		t.add(r.ID, r.Collection, len(r.Copies), size(uint64(r.Length)), r.state(), strings.Join(servers, " "))
	}
	t.write(w)
	for i := range reports {
		reports[i].details(w)
	}
}

func (r *checkReport) state() string {
	switch {
	case len(r.Different) > 0:
		return "different"
	case !r.Identical:
		return "not compared"
	case !r.good():
		return "damaged"
	case len(r.Copies) == 1:
		return "one copy"
	}
	return "identical"
}

// details says what is wrong with a volume.
func (r *checkReport) details(w io.Writer) {
	for _, d := range r.Different {
		fmt.Fprintf(w, "Volume %d differs from byte %d to %d:", r.ID, d.Offset, d.Offset+d.Length)
		for _, at := range r.Copies {
			if crc, ok := d.Checksums[at.Server]; ok {
				fmt.Fprintf(w, " %s has %08x", at.Server, crc)
			}
		}
		fmt.Fprintln(w)
	}
	for _, at := range r.Copies {
		if at.Error != "" {
			fmt.Fprintf(w, "Volume %d on %s: %s\n", r.ID, at.Server, at.Error)
		}
	}
	for _, s := range r.Scrubs {
		if s.Error != "" {
			fmt.Fprintf(w, "Volume %d on %s was not read: %s\n", r.ID, s.Server, s.Error)
		}
		for _, d := range s.Damaged {
			fmt.Fprintf(w, "Volume %d on %s is damaged from byte %d to %d: %s\n", r.ID, s.Server, d.Offset, d.Offset+d.Length, d.Reason)
		}
	}
}
