// Package memory is a store.Store for tests: a tree in memory under one lock. It keeps the whole contract but for
// durability, and it can be told to fail.
//
//	s := memory.New(store.Options{FIDs: filer.FIDs})
//	s.Fail(store.ErrUnavailable) // every call, until Fail(nil)
package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weed/filer/store"
)

type node struct {
	rec      store.Record
	children map[string]*node // of a directory
}

type claim struct {
	store.Claim
	used map[int]bool
}

type setting struct {
	value   []byte
	version store.Version
}

// Store is a store in memory.
type Store struct {
	opts store.Options

	mu       sync.Mutex
	root     *node
	version  store.Version
	moves    uint64
	removed  []*node
	drops    []store.Drop
	dropID   uint64
	claims   map[string]*claim
	settings map[string]setting
	fail     error
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New(opts store.Options) *Store {
	return &Store{opts: opts, root: &node{rec: store.Record{Dir: true}, children: map[string]*node{}},
		claims: map[string]*claim{}, settings: map[string]setting{}}
}

// Fail makes every call fail with err from now on, nil lets them work again.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// lock begins a call.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) {
	s.mu.Lock()
	if err = ctx.Err(); err == nil {
		err = s.fail
	}
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return s.mu.Unlock, nil
}

// look returns the node at a path, nil if there is none.
func (s *Store) look(path store.Path) *node {
	n := s.root
	if path == "/" {
		return n
	}
	for name := range strings.SplitSeq(string(path[1:]), "/") {
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// above returns the directory that a path is in.
func (s *Store) above(path store.Path) (*node, string, error) {
	i := strings.LastIndexByte(string(path), '/')
	n := s.root
	if i > 0 {
		for name := range strings.SplitSeq(string(path[1:i]), "/") {
			next := n.children[name]
			switch {
			case !n.rec.Dir:
				return nil, "", store.ErrNotDirectory
			case next == nil:
				return nil, "", store.ErrNoParent
			}
			n = next
		}
	}
	if !n.rec.Dir {
		return nil, "", store.ErrNotDirectory
	}
	return n, string(path[i+1:]), nil
}

// Find implements store.Store.
func (s *Store) Find(ctx context.Context, path store.Path) (store.Record, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Record{}, err
	}
	defer unlock()
	n := s.look(path)
	if n == nil {
		return store.Record{}, fmt.Errorf("%s: %w", path, store.ErrNotFound)
	}
	return n.copy(), nil
}

func (n *node) copy() store.Record {
	rec := n.rec
	rec.Value = slices.Clone(rec.Value)
	return rec
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, dir store.Path, opts store.ListOptions) ([]store.Record, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	n := s.look(dir)
	if n == nil {
		return nil, store.ErrNotFound
	}
	if !n.rec.Dir {
		return nil, store.ErrNotDirectory
	}
	var names []string
	for name := range n.children {
		if strings.HasPrefix(name, opts.Prefix) && (name > opts.After || opts.Inclusive && name == opts.After) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []store.Record
	for _, name := range names[:min(len(names), opts.Limit)] {
		list = append(list, n.children[name].copy())
	}
	return list, nil
}

// use checks the claims of a change; it changes nothing.
func (s *Store) use(effects store.Effects) error {
	for _, u := range effects.Uses {
		if c := s.claims[u.Claim]; c == nil || !c.free(u.Index) {
			return store.ErrClaimLost
		}
	}
	return nil
}

func (s *Store) apply(effects store.Effects) {
	for _, u := range effects.Uses {
		s.claims[u.Claim].used[u.Index] = true
	}
	s.addDrops(effects.Drops)
}

func (s *Store) addDrops(fids []string) {
	for _, fid := range fids {
		s.dropID++
		s.drops = append(s.drops, store.Drop{ID: fmt.Sprintf("%016x", s.dropID), FID: fid})
	}
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, path store.Path, was store.Version, record store.Record, effects store.Effects) (store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	dir, name, err := s.above(path)
	if err != nil {
		return 0, err
	}
	old := dir.children[name]
	if old == nil && was != 0 || old != nil && old.rec.Version != was {
		return 0, store.ErrConflict
	}
	if old != nil && old.rec.Dir != record.Dir {
		return 0, store.ErrIsDirectory
	}
	if err := s.use(effects); err != nil {
		return 0, err
	}
	s.apply(effects)
	s.version++
	record.Name, record.Version, record.Value = name, s.version, slices.Clone(record.Value)
	n := &node{rec: record}
	if old != nil {
		n.children = old.children
	} else if record.Dir {
		n.children = map[string]*node{}
	}
	dir.children[name] = n
	return s.version, nil
}

// Remove implements store.Store.
func (s *Store) Remove(ctx context.Context, path store.Path, was store.Version, effects store.Effects) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	n := s.look(path)
	switch {
	case n == nil:
		return store.ErrNotFound
	case n.rec.Version != was:
		return store.ErrConflict
	case len(n.children) > 0:
		return store.ErrNotEmpty
	}
	if err := s.use(effects); err != nil {
		return err
	}
	s.apply(effects)
	dir, name, _ := s.above(path)
	delete(dir.children, name)
	return nil
}

// RemoveTree implements store.Store.
func (s *Store) RemoveTree(ctx context.Context, path store.Path, was store.Version) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	n := s.look(path)
	switch {
	case n == nil:
		return store.ErrNotFound
	case !n.rec.Dir:
		return store.ErrNotDirectory
	case n.rec.Version != was:
		return store.ErrConflict
	}
	dir, name, _ := s.above(path)
	delete(dir.children, name)
	s.removed = append(s.removed, n)
	return nil
}

// Rename implements store.Store.
func (s *Store) Rename(ctx context.Context, from store.Path, was store.Version, to store.Path, target store.Version, value []byte, effects store.Effects) (store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	n := s.look(from)
	if n == nil {
		return 0, store.ErrNotFound
	}
	if n.rec.Version != was {
		return 0, store.ErrConflict
	}
	if n.rec.Dir && (to == from || strings.HasPrefix(string(to), string(from)+"/")) {
		return 0, store.ErrIntoItself
	}
	dir, name, err := s.above(to)
	if err != nil {
		return 0, err
	}
	old := dir.children[name]
	switch {
	case old == nil && target != 0, old != nil && old.rec.Version != target:
		return 0, store.ErrConflict
	case old != nil && (old.rec.Dir || n.rec.Dir):
		return 0, store.ErrIsDirectory
	}
	if err := s.use(effects); err != nil {
		return 0, err
	}
	s.apply(effects)
	s.moves++
	left, oldName, _ := s.above(from)
	delete(left.children, oldName)
	s.version++
	n.rec.Name, n.rec.Version = name, s.version
	if value != nil {
		n.rec.Value = slices.Clone(value)
	}
	dir.children[name] = n
	return s.version, nil
}

// Moves implements store.Store.
func (s *Store) Moves(ctx context.Context) (uint64, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	return s.moves, nil
}

// Sweep implements store.Store.
func (s *Store) Sweep(ctx context.Context, limit int) (store.Swept, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return store.Swept{}, err
	}
	defer unlock()
	var done store.Swept
	for done.Records < limit && len(s.removed) > 0 {
		n := s.removed[len(s.removed)-1]
		s.removed = s.removed[:len(s.removed)-1]
		for _, child := range n.children {
			s.removed = append(s.removed, child)
		}
		fids, err := s.opts.FIDs(n.rec.Value)
		if err != nil {
			return done, err
		}
		s.addDrops(fids)
		done.Records++
	}
	done.More = len(s.removed) > 0
	return done, nil
}

// Drops implements store.Store.
func (s *Store) Drops(ctx context.Context, after string, limit int) ([]store.Drop, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	i, _ := slices.BinarySearchFunc(s.drops, after, func(d store.Drop, id string) int { return strings.Compare(d.ID, id) })
	if i < len(s.drops) && s.drops[i].ID == after {
		i++
	}
	return slices.Clone(s.drops[i:min(i+limit, len(s.drops))]), nil
}

// AddDrops implements store.Store.
func (s *Store) AddDrops(ctx context.Context, fids []string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s.addDrops(fids)
	return nil
}

// Dropped implements store.Store.
func (s *Store) Dropped(ctx context.Context, drops []store.Drop) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	gone := make(map[string]bool, len(drops))
	for _, d := range drops {
		gone[d.ID] = true
	}
	s.drops = slices.DeleteFunc(s.drops, func(d store.Drop) bool { return gone[d.ID] })
	return nil
}

// AddClaim implements store.Store.
func (s *Store) AddClaim(ctx context.Context, c store.Claim) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if s.claims[c.ID] != nil {
		return errors.New("a claim has the ID already")
	}
	s.claims[c.ID] = &claim{c, map[int]bool{}}
	return nil
}

// RenewClaims implements store.Store.
func (s *Store) RenewClaims(ctx context.Context, owner string, until time.Time) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, c := range s.claims {
		if c.Owner == owner {
			c.Until = until
		}
	}
	return nil
}

// Claims implements store.Store.
func (s *Store) Claims(ctx context.Context) ([]store.Claim, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var list []store.Claim
	for _, c := range s.claims {
		list = append(list, c.Claim)
	}
	return list, nil
}

// free reports whether a fid of the claim is there to be used.
func (c *claim) free(i int) bool { return i >= 0 && i < c.Count && !c.used[i] }

// at returns the i-th fid of a claim.
func (c *claim) at(i int) string {
	if i == 0 {
		return c.FID
	}
	return c.FID + "_" + strconv.Itoa(i)
}

// Abandon implements store.Store.
func (s *Store) Abandon(ctx context.Context, uses []store.Use) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, u := range uses {
		if c := s.claims[u.Claim]; c != nil && c.free(u.Index) {
			c.used[u.Index] = true
			s.addDrops([]string{c.at(u.Index)})
		}
	}
	return nil
}

// ReleaseClaim implements store.Store.
func (s *Store) ReleaseClaim(ctx context.Context, id string, first int) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c := s.claims[id]
	if c == nil {
		return nil
	}
	for i := range min(first, c.Count) {
		if !c.used[i] {
			s.addDrops([]string{c.at(i)})
		}
	}
	delete(s.claims, id)
	return nil
}

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	v := s.settings[name]
	return slices.Clone(v.value), v.version, nil
}

// SetSetting implements store.Store.
func (s *Store) SetSetting(ctx context.Context, name string, was store.Version, value []byte) (store.Version, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if s.settings[name].version != was {
		return 0, store.ErrConflict
	}
	s.version++
	s.settings[name] = setting{slices.Clone(value), s.version}
	return s.version, nil
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	unlock, err := s.lock(ctx)
	if err == nil {
		unlock()
	}
	return err
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.Fail(store.ErrClosed)
	return nil
}
