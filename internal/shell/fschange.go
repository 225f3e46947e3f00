package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"

	"weed/client"
	"weed/client/filer"
	"weed/internal/blob"
)

type fsCat struct {
	path string
}

func (*fsCat) Flags(*Flags) {}

func (c *fsCat) Check(args []string) (err error) {
	c.path, err = onePath(args, "")
	return err
}

func (c *fsCat) Run(ctx context.Context, e *Env) error {
	d, err := e.Filer.Get(ctx, c.path, filer.GetOptions{})
	if err != nil {
		return err
	}
	_, err = io.Copy(e.Out, d)
	return errors.Join(err, d.Close())
}

type fsMv struct {
	from, to string
}

func (*fsMv) Flags(*Flags) {}

func (c *fsMv) Check(args []string) (err error) {
	if len(args) != 2 {
		return usageErrorf("two paths are needed: from and to")
	}
	if c.from, err = onePath(args[:1], ""); err == nil {
		c.to, err = onePath(args[1:], "")
	}
	return err
}

func (c *fsMv) Run(ctx context.Context, e *Env) error {
	return e.Filer.Rename(ctx, path.Clean(c.from), c.to)
}

type fsRm struct {
	consent
	recursive bool
	path      string
}

func (c *fsRm) Flags(f *Flags) {
	c.consent.Flags(f)
	f.Switch(&c.recursive, "r", "Delete a directory with all that is in it.")
}

func (c *fsRm) Check(args []string) (err error) {
	if c.path, err = onePath(args, ""); err == nil && path.Clean(c.path) == "/" {
		return usageErrorf("the root stays: name what is in it")
	}
	return err
}

func (c *fsRm) Run(ctx context.Context, e *Env) error {
	at, err := statOrRoot(ctx, e, c.path)
	if err != nil {
		return err
	}
	if at.IsDir() && c.recursive {
		plan := fmt.Sprintf("This deletes the directory %s with all that is in it", at.FullPath)
		if err := c.obtain(ctx, e, plan); err != nil {
			return err
		}
	}
	err = e.Filer.Delete(ctx, path.Clean(c.path), c.recursive)
	var refused *client.StatusError
	if at.IsDir() && !c.recursive && errors.As(err, &refused) && refused.Status == http.StatusConflict {
		return fmt.Errorf("%s is not empty: empty it, or give -r", c.path)
	}
	return err
}

// fsConfigure lists, sets or deletes a rule.
type fsConfigure struct {
	output
	rule   filer.Rule
	remove bool
}

func (c *fsConfigure) Flags(f *Flags) {
	c.output.Flags(f)
	f.String(&c.rule.Prefix, "prefix", "path", "The beginning of the paths that the rule is about.", nil)
	f.String(&c.rule.Collection, "collection", "name", "The collection of new files.", completeCollections)
	f.String(&c.rule.Replication, "replication", "xyz", "The copies of new files.", nil)
	f.String(&c.rule.TTL, "ttl", "time", "The time to live of new files, such as 3m, 4h, 5d.", nil)
	f.Switch(&c.remove, "delete", "Delete the rule of the prefix.")
}

func (c *fsConfigure) Check(args []string) error {
	if err := (noArgs{}).Check(args); err != nil {
		return err
	}
	sets := c.rule.Collection != "" || c.rule.Replication != "" || c.rule.TTL != ""
	switch {
	case c.rule.Prefix == "" && (sets || c.remove):
		return usageErrorf("-prefix is needed")
	case c.rule.Prefix != "" && !strings.HasPrefix(c.rule.Prefix, "/"):
		return usageErrorf("-prefix: %q does not begin with a slash", c.rule.Prefix)
	case c.rule.Prefix != "" && sets == c.remove:
		return usageErrorf("give either -delete, or some of -collection, -replication, -ttl")
	}
	if err := blob.CheckCollection(c.rule.Collection); err != nil {
		return usageErrorf("-collection: %v", err)
	}
	if _, err := blob.ParsePlacement(c.rule.Replication); err != nil {
		return usageErrorf("-replication: %v", err)
	}
	if _, err := blob.ParseTTL(c.rule.TTL); err != nil {
		return usageErrorf("-ttl: %v", err)
	}
	return nil
}

// Run changes the rules that it has read; the filer refuses that if somebody else was faster.
func (c *fsConfigure) Run(ctx context.Context, e *Env) error {
	now, err := e.Filer.Rules(ctx)
	if err != nil {
		return err
	}
	if c.rule.Prefix != "" {
		had := len(now.Rules)
		now.Rules = slices.DeleteFunc(now.Rules, func(r filer.Rule) bool { return r.Prefix == c.rule.Prefix })
		switch {
		case !c.remove:
			now.Rules = append(now.Rules, c.rule)
		case len(now.Rules) == had:
			return fmt.Errorf("there is no rule for %s", c.rule.Prefix)
		}
		slices.SortFunc(now.Rules, func(a, b filer.Rule) int { return strings.Compare(a.Prefix, b.Prefix) })
		if now, err = e.Filer.SetRules(ctx, now); err != nil {
			return err
		}
	}
	return c.print(e, now.Rules, func(w io.Writer) {
		t := newTable("PREFIX", "COLLECTION", "REPLICATION", "TTL")
		for _, r := range now.Rules {
			t.add(r.Prefix, r.Collection, r.Replication, r.TTL)
		}
		t.write(w)
	})
}
