package cassandra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/cassandra-gocql-driver/v2"
	"golang.org/x/sync/errgroup"

	"weed/filer/store"
)

// step is a directory on the way to a path: the record that names it.
type step struct {
	part  string // that the record is in
	entry entry
}

// walk returns the partition of the directory that a path is in, the path's last segment, and the way there, which it
// returns with store.ErrNoParent and store.ErrNotDirectory, too: they depend on it.
func (s *Store) walk(ctx context.Context, path store.Path) (dir, name string, way []step, err error) {
	dir = rootPart
	rest := string(path[1:])
	for {
		head, tail, more := strings.Cut(rest, "/")
		if !more {
			return dir, head, way, nil
		}
		e, err := s.lookup(ctx, dir, head)
		if err != nil {
			return "", "", nil, err
		}
		if !e.there() {
			return "", "", way, fmt.Errorf("%s: %w", path, store.ErrNoParent)
		}
		if way = append(way, step{dir, e}); !e.dir() {
			return "", "", way, fmt.Errorf("%s: %w", path, store.ErrNotDirectory)
		}
		dir, rest = e.child, tail
	}
}

// stands reports whether a way is as it was when it was walked: then it was so in between, too, as versions don't
// come again, and what was read at its end belonged to the path.
func (s *Store) stands(ctx context.Context, way []step) (bool, error) {
	same := make([]bool, len(way))
	g, ctx := errgroup.WithContext(ctx)
	for i, st := range way {
		g.Go(func() error {
			e, err := s.lookup(ctx, st.part, st.entry.name)
			same[i] = e.version == st.entry.version
			return err
		})
	}
	err := g.Wait()
	for _, ok := range same {
		if !ok {
			return false, err
		}
	}
	return true, err
}

// onTheWay reports whether an error is what a walk has found.
func onTheWay(err error) bool {
	return errors.Is(err, store.ErrNoParent) || errors.Is(err, store.ErrNotDirectory)
}

// find returns the record at a path that is not "/", the zero version if there is none, as of one moment.
func (s *Store) find(ctx context.Context, path store.Path) (found entry, err error) {
	err = tries(ctx, func() (bool, error) {
		dir, name, way, err := s.walk(ctx, path)
		if err != nil && !onTheWay(err) {
			return false, err
		}
		found = entry{}
		if err == nil {
			if found, err = s.lookup(ctx, dir, name); err != nil {
				return false, err
			}
		}
		return s.stands(ctx, way)
	})
	return found, err
}

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, path store.Path) (store.Record, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return store.Record{}, err
	}
	defer leave()
	e, err := s.find(ctx, path)
	if err != nil {
		return store.Record{}, err
	}
	if !e.there() {
		return store.Record{}, fmt.Errorf("%s: %w", path, store.ErrNotFound)
	}
	return e.record(), nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, path store.Path, opts store.ListOptions) (list []store.Record, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	err = tries(ctx, func() (bool, error) {
		dir, way := rootPart, []step(nil)
		if path != "/" {
			_, _, way, err = s.walk(ctx, path+"/")
			switch {
			case errors.Is(err, store.ErrNotDirectory) && len(way) == strings.Count(string(path), "/"):
				if ok, failed := s.stands(ctx, way); !ok || failed != nil {
					return false, failed
				}
				return false, err
			case onTheWay(err):
				if ok, failed := s.stands(ctx, way); !ok || failed != nil {
					return false, failed
				}
				return false, fmt.Errorf("%s: %w", path, store.ErrNotFound)
			case err != nil:
				return false, err
			}
			dir = way[len(way)-1].entry.child
		}
		if list, err = s.page(ctx, dir, opts); err != nil {
			return false, err
		}
		return s.stands(ctx, way)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// pageBytes is about what one request of a listing returns.
const pageBytes = 4 << 20

// page reads the records of a directory in requests of bounded size.
func (s *Store) page(ctx context.Context, dir string, opts store.ListOptions) (list []store.Record, err error) {
	from, inclusive := opts.After, opts.Inclusive || opts.After == ""
	if opts.Prefix > from {
		from, inclusive = opts.Prefix, true
	}
	rows := 64
	for len(list) < opts.Limit {
		rows = min(rows, opts.Limit-len(list))
		got, err := s.rows(ctx, s.quorum, dir, from, inclusive, rows)
		if err != nil {
			return nil, err
		}
		size := 1
		for _, e := range got {
			if !strings.HasPrefix(e.name, opts.Prefix) {
				return list, nil
			}
			size += len(e.name) + len(e.value)
			if e.lock.held() {
				if e, err = s.lookup(ctx, dir, e.name); err != nil {
					return nil, err
				}
			}
			if e.there() {
				list = append(list, e.record())
			}
		}
		if len(got) < rows {
			return list, nil
		}
		from, inclusive = got[len(got)-1].name, false
		rows = max(1, min(2*rows, rows*pageBytes/size, 2000))
	}
	return list, nil
}

// rows reads up to limit rows of a directory as they are stored.
func (s *Store) rows(ctx context.Context, consistency gocql.Consistency, dir, from string, inclusive bool, limit int) (list []entry, err error) {
	compare := ">"
	if inclusive {
		compare = ">="
	}
	iter := s.session.Query(s.parts("SELECT "+entryColumns+" FROM PARTS WHERE part = ? AND kind = ? AND name "+compare+" ? LIMIT ?"),
		[]byte(dir), kindEntry, []byte(from), limit).PageSize(limit + 1).Consistency(consistency).IterContext(ctx)
	for {
		e, ok := scanEntry(iter.Scan)
		if !ok {
			break
		}
		e.value = bytes.Clone(e.value)
		list = append(list, e)
	}
	return list, unavailable(iter.Close())
}
