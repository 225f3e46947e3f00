package shell

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"weed/client/filer"
)

const (
	verifyGrace    = 10 * time.Minute
	verifyTell     = 10 * time.Second // between two lines about how far it is
	maxShownLeaks  = 100
	maxListedFinds = 1000 // of each kind, as JSON
)

var verifyCommands = []Spec{{
	Name: "fs.verify", Short: "Compare the filer's tree with the chunks on the volume servers.",
	Long: "It finds files that miss chunks, and chunks of this filer's that no file refers to, and fails if there are any.\n" +
		"-fix deletes the latter if they are older than the grace time, and nothing at all if a volume could not be looked\n" +
		"at. Files that miss chunks stay as they are: upload them again, or delete them. With -moveDangling they are moved\n" +
		"to /lost+found, under their whole paths, with what is left of them.",
	Example: "fs.verify -fix -grace=1h", New: func() Command { return &fsVerify{opts: filer.VerifyOptions{Grace: verifyGrace}} },
}}

// fsVerify compares, and repairs if it is told to.
type fsVerify struct {
	noArgs
	output
	grace string
	opts  filer.VerifyOptions

	report    verifyReport
	phase     string
	toldAt    time.Time
	leaksTold int
}

func (c *fsVerify) Flags(f *Flags) {
	f.Switch(&c.opts.Fix, "fix", "Delete chunks that no file refers to.")
	f.Switch(&c.opts.MoveDangling, "moveDangling", "With -fix: move files that miss chunks to /lost+found.")
	f.String(&c.grace, "grace", "time", "Leave younger chunks alone; 10m by default.", nil)
	c.output.Flags(f)
}

func (c *fsVerify) Check(args []string) (err error) {
	if c.grace != "" {
		if c.opts.Grace, err = time.ParseDuration(c.grace); err != nil || c.opts.Grace < 0 {
			return usageErrorf("-grace: %q is no time such as 90s, 10m or 1h", c.grace)
		}
	}
	if c.opts.MoveDangling && !c.opts.Fix {
		return usageErrorf("-moveDangling goes with -fix")
	}
	return c.noArgs.Check(args)
}

// verifyReport is what fs.verify prints: lists have the first 1,000.
type verifyReport struct {
	Clean bool `json:"clean"`
	filer.VerifyResult
	Files    []filer.DanglingFile `json:"danglingFiles"`
	Chunks   []filer.LeakedChunk  `json:"leakedChunks"`
	Problems []string             `json:"problems"` // what could not be looked at
}

func (c *fsVerify) Run(ctx context.Context, e *Env) error {
	c.report = verifyReport{Files: []filer.DanglingFile{}, Chunks: []filer.LeakedChunk{}, Problems: []string{}}
	result, err := e.Filer.Verify(ctx, c.opts, func(event *filer.VerifyEvent) error { return c.hear(e, event) })
	if err != nil {
		return err
	}
	c.report.VerifyResult, c.report.Clean = result, result.Clean()
	if err := c.print(e, &c.report, c.summary); err != nil {
		return err
	}
	if !result.Clean() {
		return fmt.Errorf("not clean: %s", strings.Join(findings(&result), ", "))
	}
	return nil
}

// hear shows an event, to people as it comes.
func (c *fsVerify) hear(e *Env, event *filer.VerifyEvent) (err error) {
	switch {
	case event.Progress != nil:
		if p := event.Progress; p.Phase != c.phase || time.Since(c.toldAt) >= verifyTell {
			c.phase, c.toldAt = p.Phase, time.Now()
			_, err = fmt.Fprintln(e.Err, progressText(p))
		}
	case event.Failure != "":
		if len(c.report.Problems) < maxListedFinds {
			c.report.Problems = append(c.report.Problems, event.Failure)
		}
		_, err = fmt.Fprintln(e.Err, event.Failure)
	case event.Dangling != nil:
		if len(c.report.Files) < maxListedFinds {
			c.report.Files = append(c.report.Files, *event.Dangling)
		}
		if !c.json {
			_, err = fmt.Fprintln(e.Out, danglingText(event.Dangling))
		}
	case event.Leak != nil:
		if len(c.report.Chunks) < maxListedFinds {
			c.report.Chunks = append(c.report.Chunks, *event.Leak)
		}
		if c.leaksTold++; !c.json && c.leaksTold <= maxShownLeaks {
			l := event.Leak
			_, err = fmt.Fprintf(e.Out, "%s: no file refers to this chunk of %s, which was written at %s\n", l.FID, size(uint64(l.Size)),
				time.Unix(0, l.AppendedAt).Format(time.DateTime))
		}
	}
	return err
}

func progressText(p *filer.VerifyProgress) string {
	switch p.Phase {
	case "list":
		return fmt.Sprintf("%d of %d volumes listed, %d chunks", p.Volumes, p.Of, p.Blobs)
	case "fix":
		return "queueing chunks for deletion"
	case "confirm":
		return fmt.Sprintf("making sure: %d entries read once more", p.Entries)
	}
	return fmt.Sprintf("%d entries read", p.Entries)
}

func danglingText(d *filer.DanglingFile) string {
	name := strings.Map(shownRune, d.Path)
	if d.MovedTo != "" {
		return fmt.Sprintf("%s: moved to %s", name, strings.Map(shownRune, d.MovedTo))
	}
	aside := ""
	if d.Aside {
		aside = ", moved aside before"
	}
	return fmt.Sprintf("%s: misses %d of %s, first %s: %s%s", name, d.Missing, count(d.Chunks, "chunk"), d.FID, d.Reason, aside)
}

// findings says what is wrong.
func findings(r *filer.VerifyResult) (list []string) {
	if r.Dangling > 0 {
		list = append(list, count(int(r.Dangling), "file misses chunks", "files miss chunks"))
	}
	if left := r.Leaks - r.Queued; left > 0 {
		list = append(list, count(int(left), "leaked chunk"))
	}
	if r.More {
		list = append(list, "more leaked chunks than one run looks at")
	}
	if r.Failures > 0 {
		list = append(list, fmt.Sprintf("%s, so nothing was fixed", count(int(r.Failures), "thing could not be looked at", "things could not be looked at")))
	}
	return list
}

func (c *fsVerify) summary(w io.Writer) {
	r := &c.report.VerifyResult
	if more := c.leaksTold - maxShownLeaks; more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	fmt.Fprintf(w, "%s and %s; %s with %s, %d of them this filer's.\n", count(int(r.Files), "file"),
		count(int(r.Directories), "directory", "directories"), count(int(r.Volumes), "volume"), count(int(r.Blobs), "chunk"), r.Chunks)
	if r.Dangling > 0 {
		fmt.Fprintf(w, "%s: upload them again, or delete them.\n", count(int(r.Dangling), "file misses chunks", "files miss chunks"))
	}
	if r.Aside > 0 {
		fmt.Fprintf(w, "%s in /lost+found.\n", count(int(r.Aside), "file misses chunks", "files miss chunks"))
	}
	if r.Leaks > 0 {
		fmt.Fprintf(w, "No file refers to %s, %s; %d of them are being deleted now.\n", count(int(r.Leaks), "chunk"), size(uint64(r.LeakBytes)), r.Queued)
	}
	if r.Young > 0 {
		fmt.Fprintf(w, "No file refers to %s younger than %v.\n", count(int(r.Young), "chunk"), c.opts.Grace)
	}
	if r.Pending > 0 {
		fmt.Fprintf(w, "%s being uploaded, or being deleted.\n", count(int(r.Pending), "chunk is", "chunks are"))
	}
	if r.Clean() {
		fmt.Fprintln(w, "Clean.")
	}
}
