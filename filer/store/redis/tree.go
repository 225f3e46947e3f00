package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"weed/filer/store"
)

// sweepBatch bounds what one script hands over.
const sweepBatch = 64

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, path store.Path) (store.Record, error) {
	answer, err := s.run(ctx, "find", string(path), string(path))
	if err != nil {
		return store.Record{}, err
	}
	return parse(string(path[strings.LastIndexByte(string(path), '/')+1:]), answer[0].(string))
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, dir store.Path, opts store.ListOptions) ([]store.Record, error) {
	from, to := "-", "+"
	if opts.Prefix != "" {
		from = "[" + opts.Prefix
		end := opts.Prefix
		for end != "" && end[len(end)-1] == 0xff {
			end = end[:len(end)-1]
		}
		if end != "" {
			to = "(" + end[:len(end)-1] + string([]byte{end[len(end)-1] + 1})
		}
	}
	if opts.After != "" && opts.After >= opts.Prefix {
		from = "(" + opts.After
		if opts.Inclusive {
			from = "[" + opts.After
		}
	}
	answer, err := s.run(ctx, "list", string(dir), string(dir), from, to, opts.Limit)
	if err != nil {
		return nil, err
	}
	var list []store.Record
	for i := 0; i+1 < len(answer); i += 2 {
		rec, err := parse(answer[i].(string), answer[i+1].(string))
		if err != nil {
			return nil, err
		}
		list = append(list, rec)
	}
	return list, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (store.Version, error) {
	args := []any{string(path), number(uint64(was)), flag(record.Dir), string(record.Value)}
	return versionOf(s.run(ctx, "put", string(path), withEffects(args, effects)...))
}

// Remove implements store.Store.
func (s *Store) Remove(ctx context.Context, path store.Path, was store.Version, effects store.Effects) error {
	_, err := s.run(ctx, "remove", string(path), withEffects([]any{string(path), number(uint64(was))}, effects)...)
	return err
}

// RemoveTree implements store.Store.
func (s *Store) RemoveTree(ctx context.Context, path store.Path, was store.Version) error {
	_, err := s.run(ctx, "tree", string(path), withEffects([]any{string(path), number(uint64(was))}, store.Effects{})...)
	return err
}

// Rename implements store.Store.
func (s *Store) Rename(ctx context.Context, from store.Path, was store.Version, to store.Path, target store.Version, value []byte, effects store.Effects) (store.Version, error) {
	inside := to == from || strings.HasPrefix(string(to), string(from)+"/")
	args := []any{string(from), number(uint64(was)), string(to), number(uint64(target)), flag(inside), flag(value == nil), string(value)}
	return versionOf(s.run(ctx, "rename", string(from)+" to "+string(to), withEffects(args, effects)...))
}

// Moves implements store.Store.
func (s *Store) Moves(ctx context.Context) (uint64, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	n, err := s.client.Get(ctx, s.prefix+"moves").Uint64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, unavailable(ctx, err)
	}
	return n, nil
}

// Sweep implements store.Store.
func (s *Store) Sweep(ctx context.Context, limit int) (done store.Swept, err error) {
	var unread error
	for {
		answer, err := s.run(ctx, "peek", "sweep", min(sweepBatch, limit-done.Records))
		if err != nil || len(answer) == 0 {
			return store.Swept{Records: done.Records}, errors.Join(unread, err)
		}
		args := []any{answer[0]}
		for i := 1; i+1 < len(answer); i += 2 {
			name := answer[i].(string)
			rec, err := parse(name, answer[i+1].(string))
			var fids []string
			if err == nil && !rec.Dir {
				fids, err = s.opts.FIDs(rec.Value)
			}
			if err != nil {
				unread = errors.Join(unread, fmt.Errorf("removed record %q: its chunks stay where they are: %w", name, err))
				fids = nil
			}
			args = append(args, name, len(fids))
			for _, fid := range fids {
				args = append(args, fid)
			}
		}
		if answer, err = s.run(ctx, "sweep", "sweep", args...); err != nil {
			return done, errors.Join(unread, err)
		}
		done.Records += int(answer[0].(int64))
		done.More = answer[1].(int64) > 0
		if done.Records >= limit || !done.More {
			return done, unread
		}
	}
}
