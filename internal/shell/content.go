package shell

import (
	"context"
	"errors"
	"fmt"
	"io"

	"weed/client"
	"weed/internal/blob"
	"weed/internal/export"
)

var contentCommands = []Spec{
	{
		Name: "volume.export", Args: "volumeId", Short: "Write the blobs of a volume to a tar archive on this machine.",
		Long: "The archive is that of weed export, but of a volume that is being served. Blobs that are written or deleted\n" +
			"meanwhile may be in it or not. One that no copy can read is left out and told, and the command fails then.",
		Example: "volume.export 3 -o 3.tar -fileNameFormat {{.Key}}{{.Ext}}", Complete: completeVolumes,
		New: func() Command { return new(volumeExport) },
	},
	{
		Name: "volume.fsck", Args: "[volumeId…]", Short: "Check that every blob can be read from every copy: of all volumes, or those that are named.",
		Long: "Each server lists the blobs of its copy and reads each from its disk, at the rate of -scrubMBps; blobs may be\n" +
			"written and deleted meanwhile. It fails when a copy lacks a blob that others have, can't read one, or can't be\n" +
			"looked at. volume.check -scrub mends what another copy has.",
		Example: "volume.fsck 3", Complete: completeVolumes,
		New: func() Command { return new(volumeFsck) },
	},
}

type volumeFsck struct {
	output
	ids []uint32
}

func (c *volumeFsck) Check(args []string) (err error) {
	c.ids, err = parseVolumes(args)
	return err
}

func (c *volumeFsck) Run(ctx context.Context, e *Env) error {
	volumes, err := listVolumes(ctx, e, c.ids...)
	if err != nil {
		return err
	}
	results, bad := []client.VolumeFsck{}, 0
	for i := range volumes {
		r, err := e.Client.FsckVolume(ctx, &volumes[i])
		if err != nil {
			return err
		}
		if results = append(results, r); !r.Good() {
			bad++
		}
	}
	if err := c.print(e, results, func(w io.Writer) { printFsck(w, results) }); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d of %s: blobs can't be read from all copies, or copies not at all", bad, count(len(results), "volume"))
	}
	return nil
}

func printFsck(w io.Writer, results []client.VolumeFsck) {
	t := newTable(">VOLUME", "SERVER", ">BLOBS", ">SIZE", ">PROBLEMS")
	for i := range results {
		r := &results[i]
		problems := map[string]int{}
		for _, p := range r.Problems {
			problems[p.Server]++
		}
		for _, at := range r.Copies {
			t.add(r.ID, at.Server, at.Blobs, size(uint64(at.Bytes)), problems[at.Server])
		}
	}
	t.write(w)
	for i := range results {
		r := &results[i]
		for _, at := range r.Copies {
			if at.Error != "" {
				fmt.Fprintf(w, "Volume %d on %s was not read to its end: %s\n", r.ID, at.Server, at.Error)
			}
		}
		for _, p := range r.Problems {
			fmt.Fprintf(w, "%s on %s: %s\n", p.FID, p.Server, p.Reason)
		}
		if more := r.Count - len(r.Problems); more > 0 {
			fmt.Fprintf(w, "Volume %d has %s more.\n", r.ID, count(more, "problem"))
		}
	}
}

type volumeExport struct {
	output
	outputName, format, newer string

	id    uint32
	since int64
	names *export.Names
}

// exported is what volume.export has done.
type exported struct {
	ID      uint32 `json:"id"`
	File    string `json:"file"`
	Blobs   int    `json:"blobs"`
	LeftOut int    `json:"leftOut,omitempty"`
}

func (c *volumeExport) Flags(f *Flags) {
	c.format = export.DefaultFormat
	f.String(&c.outputName, "o", "file", "The archive, a name that ends in .tar, or - for standard output.", nil)
	f.String(&c.format, "fileNameFormat", "template", "Names in the archive, of {{.Mime}} {{.Id}} {{.Name}} {{.Ext}} {{.Key}}.", nil)
	f.String(&c.newer, "newer", "time", "Leave out what was last modified before, such as 2026-01-31T00:00:00.", nil)
	c.output.Flags(f)
}

func (c *volumeExport) Check(args []string) error {
	arg, err := oneArg(args, "a volume id is")
	if err != nil {
		return err
	}
	id, err := blob.ParseVolumeID(arg)
	if err != nil {
		return usageErrorf("%q is no volume id", arg)
	}
	c.id = uint32(id)
	if c.outputName == "" {
		return usageErrorf("-o is needed: the name of the archive")
	}
	if c.json && c.outputName == "-" {
		return usageErrorf("-json: standard output is the archive's")
	}
	if err := export.CheckOutput(c.outputName); err != nil {
		return usageErrorf("-o: %v", err)
	}
	if c.names, err = export.ParseNames(c.format); err != nil {
		return usageErrorf("-fileNameFormat: %v", err)
	}
	if c.newer != "" {
		if c.since, err = export.ParseTime(c.newer); err != nil {
			return usageErrorf("-newer: %v", err)
		}
	}
	return nil
}

func (c *volumeExport) Run(ctx context.Context, e *Env) error {
	volumes, err := listVolumes(ctx, e, c.id)
	if err != nil {
		return err
	}
	server := volumes[0].Primary
	if server == "" {
		server = volumes[0].Copies[0].Server
	}
	done := exported{ID: c.id, File: c.outputName}
	err = export.Write(e.Out, c.outputName, func(w io.Writer) error {
		archive := export.NewTar(w, c.names)
		err := e.Client.ListNeedles(ctx, server, c.id, client.ListOptions{}, func(n *client.Needle) error {
			if c.since > 0 && n.Modified > 0 && n.Modified < c.since {
				return nil
			}
			if n.Damage == "" {
				switch err := addBlob(ctx, e.Client, archive, n); {
				case err == nil:
					done.Blobs++
					return nil
				case errors.Is(err, client.ErrNotFound): // deleted meanwhile
					return nil
				case !errors.As(err, new(*client.StatusError)):
					return err
				default:
					n.Damage = explain(err).Error()
				}
			}
			done.LeftOut++
			_, err := fmt.Fprintf(e.Err, "%s is left out: %s\n", n.FID, n.Damage)
			return err
		})
		if err = errors.Join(err, archive.Close()); err == nil && done.LeftOut > 0 {
			err = fmt.Errorf("%w: %s left out", export.ErrIncomplete, count(done.LeftOut, "blob"))
		}
		return err
	})
	if c.outputName == "-" || err != nil && !errors.Is(err, export.ErrIncomplete) {
		return err
	}
	return errors.Join(err, c.print(e, &done, func(w io.Writer) {
		fmt.Fprintf(w, "%s of volume %d in %s.\n", count(done.Blobs, "blob"), c.id, c.outputName)
	}))
}

// addBlob reads a blob as it is stored from any copy into an archive.
func addBlob(ctx context.Context, c *client.Client, archive *export.Tar, n *client.Needle) (err error) {
	d, err := c.Download(ctx, n.FID, client.DownloadOptions{AcceptGzip: true, RawManifest: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fid, err := blob.ParseFileID(n.FID)
	if err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: the server does not say how long it is", n.FID)
	}
	b := export.Blob{FID: fid, Name: n.Name, Mime: n.Mime, SizeBytes: d.Size, Gzipped: d.Gzipped, Modified: n.Modified}
	return archive.Add(&b, d)
}
