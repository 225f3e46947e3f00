package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"weed/internal/blob"
	"weed/internal/export"
	"weed/storage"
)

// exporting is one call of weed export.
type exporting struct {
	at      offlineFlags
	output  string
	format  string
	newer   string
	deleted bool

	names *export.Names
	since int64 // unix seconds; 0 for all
	lost  int
}

func newExport() *cobra.Command {
	var e exporting
	command := &cobra.Command{
		Use:   "export [flags]",
		Short: "List the files of a volume, or write them to a tar archive.",
		Long: "List the files of a volume, or with -o write them to a tar archive. The volume is read where it lies, and not " +
			"changed. The columns of the listing have tabs between them: key, name, size (as stored), gzip (whether it is stored " +
			"compressed), mime, modified (local time), ttl, deleted, and start and stop, the bytes in the .dat file. A file that is " +
			"stored compressed is archived so, with .gz behind its name; one that was cut into chunks as the JSON that lists them. " +
			"Whatever a file was called when it was stored, its name in the archive leads nowhere but below the directory " +
			"where that is unpacked. What is damaged is left out and told; the exit code is 1 then.",
		Example: "weed export -dir=./data -volumeId=3 -o=3.tar -fileNameFormat='{{.Key}}{{.Ext}}' -newer=2026-01-31T00:00:00",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.check(); err != nil {
				return err
			}
			return e.at.with(func(offline *storage.Offline) error { return e.run(cmd, offline) })
		},
	}
	flags := command.Flags()
	e.at.register(flags, offlineDirUsage)
	flags.StringVar(&e.output, "o", "", "Write an archive to this `file`, which ends in .tar, or to standard output for -; it has "+
		"its name only when it is whole.")
	flags.StringVar(&e.format, "fileNameFormat", export.DefaultFormat, "The `template` of names in the archive: {{.Name}} is the "+
		"name as stored, {{.Ext}} its extension with the dot, {{.Mime}} the media type, {{.Id}} the key in decimal, {{.Key}} the fid.")
	flags.StringVar(&e.newer, "newer", "", "Leave out files that were last modified before this `time`, such as "+
		"2026-01-31T00:00:00; those of which that is not known stay.")
	flags.BoolVar(&e.deleted, "deleted", false, "List also what was deleted or replaced, or has outlived its ttl.")
	return command
}

// check reads the flags.
func (e *exporting) check() (err error) {
	if _, err = e.at.id(); err != nil {
		return err
	}
	if e.output != "" {
		if err := export.CheckOutput(e.output); err != nil {
			return fmt.Errorf("-o: %w", err)
		}
	}
	switch {
	case e.output != "" && e.deleted:
		return errors.New("-deleted: deleted files can be listed, not archived: leave -o out")
	case e.output == "" && e.format != export.DefaultFormat:
		return errors.New("-fileNameFormat: it names files in an archive: say which with -o")
	}
	if e.names, err = export.ParseNames(e.format); err != nil {
		return fmt.Errorf("-fileNameFormat: %w", err)
	}
	if e.newer != "" {
		if e.since, err = export.ParseTime(e.newer); err != nil {
			return fmt.Errorf("-newer: %w", err)
		}
	}
	return nil
}

func (e *exporting) run(cmd *cobra.Command, offline *storage.Offline) (err error) {
	v, err := offline.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if e.output == "" {
		list, err := export.NewList(cmd.OutOrStdout())
		if err != nil {
			return err
		}
		return e.walk(cmd, v, func(r *storage.Record, b *export.Blob) error { return list.Add(b) }, list.Close)
	}
	return export.Write(cmd.OutOrStdout(), e.output, func(w io.Writer) error {
		archive := export.NewTar(w, e.names)
		return e.walk(cmd, v, func(r *storage.Record, b *export.Blob) error {
			if int64(len(r.Data)) == r.DataSize {
				return archive.Add(b, bytes.NewReader(r.Data))
			}
			content, err := v.Stat(r.Key, r.Cookie)
			if err != nil {
				return fmt.Errorf("read %s: %w", b.FID, err)
			}
			return archive.Add(b, io.NewSectionReader(content, 0, content.DataSize()))
		}, archive.Close)
	})
}

// walk hands what is to be exported to add.
func (e *exporting) walk(cmd *cobra.Command, v *storage.Volume, add func(*storage.Record, *export.Blob) error, finish func() error) error {
	p := newProgress(cmd.ErrOrStderr(), "exporting")
	err := v.List(func(r storage.Record) error {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		if r.Deleted && !e.deleted || e.since > 0 && r.LastModified > 0 && r.LastModified < e.since {
			return nil
		}
		b := exportBlob(v.ID(), &r)
		return add(&r, &b)
	}, func(d storage.Damage) error {
		e.lost++
		p.end()
		_, err := fmt.Fprintf(cmd.ErrOrStderr(), "left out: %s\n", damageText(d))
		return err
	}, func(offset int64) error {
		p.at(offset, v.SizeBytes())
		return cmd.Context().Err()
	})
	p.end()
	if err = errors.Join(err, finish()); err == nil && e.lost > 0 {
		err = fmt.Errorf("%w: the volume is damaged in %d places", export.ErrIncomplete, e.lost)
	}
	return err
}

func exportBlob(id blob.VolumeID, r *storage.Record) export.Blob {
	ttl := r.TTL
	return export.Blob{FID: blob.FileID{Volume: id, Key: r.Key, Cookie: r.Cookie}, Name: string(r.Name), Mime: string(r.Mime),
		SizeBytes: r.DataSize, Gzipped: r.Gzipped, Modified: r.LastModified, TTL: ttl, Deleted: r.Deleted, Tombstone: r.Tombstone,
		Start: r.Offset, Stop: r.Offset + r.Length}
}
