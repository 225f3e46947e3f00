package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"weed/filer/store"
)

// effect does what goes along with a change of a record. It changes nothing if it fails with store.ErrClaimLost.
func (t *txn) effect(e store.Effects) error {
	if err := t.use(e.Uses); err != nil {
		return err
	}
	t.addDrops(e.Drops)
	return nil
}

// own copies effects: the committer may look at them when the caller is gone.
func own(e store.Effects) store.Effects {
	return store.Effects{Drops: slices.Clone(e.Drops), Uses: slices.Clone(e.Uses)}
}

// use marks fids as used, all or none.
func (t *txn) use(uses []store.Use) error {
	if len(uses) == 0 {
		return nil
	}
	bits := make(map[string][]byte, 1)
	for _, u := range uses {
		b, ok := bits[u.Claim]
		if !ok {
			b = bytes.Clone(t.get(usedBucket, []byte(u.Claim)))
			bits[u.Claim] = b
		}
		if u.Index < 0 || u.Index/8 >= len(b) || isSet(b, u.Index) {
			return fmt.Errorf("claim %s: %w", u.Claim, store.ErrClaimLost)
		}
		set(b, u.Index)
	}
	for id, b := range bits {
		t.put(usedBucket, id, b)
	}
	return nil
}

func isSet(bits []byte, i int) bool { return bits[i/8]&(1<<(i%8)) != 0 }
func set(bits []byte, i int)        { bits[i/8] |= 1 << (i % 8) }

func (t *txn) addDrops(fids []string) {
	for _, fid := range fids {
		t.changed.drops++
		t.put(dropsBucket, string(key64(t.changed.drops)), []byte(fid))
	}
}

// Drops implements store.Store.
func (s *Store) Drops(ctx context.Context, after string, limit int) (list []store.Drop, err error) {
	var from uint64
	if after != "" {
		if from, err = strconv.ParseUint(after, 16, 64); err != nil {
			return nil, fmt.Errorf("%q is the ID of no drop", after)
		}
	}
	r, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	first := max(string(key64(from+1)), s.floors.keys[dropsBucket])
	for c := r.page(dropsBucket, "", first, limit); len(list) < limit; {
		k, v, ok := c.next()
		if !ok {
			break
		}
		list = append(list, store.Drop{ID: fmt.Sprintf("%016x", binary.BigEndian.Uint64([]byte(k))), FID: string(v)})
	}
	return list, r.failure()
}

// AddDrops implements store.Store.
func (s *Store) AddDrops(ctx context.Context, fids []string) error {
	fids = slices.Clone(fids)
	return s.change(ctx, 32*len(fids), func(t *txn) error { t.addDrops(fids); return nil })
}

// Dropped implements store.Store.
func (s *Store) Dropped(ctx context.Context, drops []store.Drop) error {
	drops = slices.Clone(drops)
	return s.change(ctx, 16*len(drops), func(t *txn) error {
		for _, d := range drops {
			n, err := strconv.ParseUint(d.ID, 16, 64)
			if err != nil {
				continue // it is not there
			}
			t.delete(dropsBucket, string(key64(n)))
		}
		t.first(dropsBucket)
		return nil
	})
}

// AddClaim implements store.Store.
func (s *Store) AddClaim(ctx context.Context, claim store.Claim) error {
	if claim.Count < 1 || claim.Count > store.MaxClaimFIDs {
		return fmt.Errorf("claim of %d fids: give 1 to %d", claim.Count, store.MaxClaimFIDs)
	}
	if err := checkKey("claim", claim.ID); err != nil {
		return err
	}
	text, err := json.Marshal(claim)
	if err != nil {
		return fmt.Errorf("encode a claim: %w", err)
	}
	bits := make([]byte, (claim.Count+7)/8)
	for i := claim.Count; i < 8*len(bits); i++ {
		set(bits, i) // there is no such fid
	}
	return s.change(ctx, len(text), func(t *txn) error {
		if t.get(claimsBucket, []byte(claim.ID)) != nil {
			return errors.New("a claim of this ID is there already")
		}
		t.put(usedBucket, claim.ID, bits)
		t.put(claimsBucket, claim.ID, text)
		return nil
	})
}

// eachClaim calls visit for all claims.
func eachClaim(all *cursor, visit func(store.Claim)) error {
	for {
		k, v, ok := all.next()
		if !ok {
			return nil
		}
		var c store.Claim
		if err := json.Unmarshal(v, &c); err != nil {
			return fmt.Errorf("claim %q: %w", k, err)
		}
		visit(c)
	}
}

// RenewClaims implements store.Store.
func (s *Store) RenewClaims(ctx context.Context, owner string, until time.Time) error {
	return s.change(ctx, 1024, func(t *txn) error {
		var mine []store.Claim
		err := eachClaim(t.seek(claimsBucket, "", ""), func(c store.Claim) {
			if c.Owner == owner {
				mine = append(mine, c)
			}
		})
		if err != nil {
			return err
		}
		texts := make([][]byte, len(mine)) // all of them before the first is written
		for i, c := range mine {
			c.Until = until
			if texts[i], err = json.Marshal(c); err != nil {
				return fmt.Errorf("encode a claim: %w", err)
			}
		}
		for i, c := range mine {
			t.put(claimsBucket, c.ID, texts[i])
		}
		return nil
	})
}

// Claims implements store.Store.
func (s *Store) Claims(ctx context.Context) (list []store.Claim, err error) {
	r, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	err = eachClaim(r.page(claimsBucket, "", "", unlimited), func(c store.Claim) { list = append(list, c) })
	if r.err != nil {
		err = r.failure()
	}
	return list, err
}

// claim returns a claim and its bits, a copy; ok is false if it is gone.
func (t *txn) claim(id string) (c store.Claim, bits []byte, ok bool, err error) {
	text := t.get(claimsBucket, []byte(id))
	if text == nil {
		return c, nil, false, nil
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, nil, false, fmt.Errorf("claim %q: %w", id, err)
	}
	return c, bytes.Clone(t.get(usedBucket, []byte(id))), true, nil
}

// fidAt returns the i-th fid of a claim.
func fidAt(c store.Claim, i int) string {
	if i == 0 {
		return c.FID
	}
	return c.FID + "_" + strconv.Itoa(i)
}

// Abandon implements store.Store.
func (s *Store) Abandon(ctx context.Context, uses []store.Use) error {
	uses = slices.Clone(uses)
	return s.change(ctx, 64*len(uses), func(t *txn) error {
		bits := make(map[string][]byte, 1)
		var fids []string
		for _, u := range uses {
			c, b, ok, err := t.claim(u.Claim)
			if err != nil {
				return err
			}
			if seen, again := bits[u.Claim]; again {
				b = seen
			}
			if !ok || u.Index < 0 || u.Index >= c.Count || isSet(b, u.Index) {
				continue
			}
			set(b, u.Index)
			bits[u.Claim], fids = b, append(fids, fidAt(c, u.Index))
		}
		for id, b := range bits {
			t.put(usedBucket, id, b)
		}
		t.addDrops(fids)
		return nil
	})
}

// ReleaseClaim implements store.Store.
func (s *Store) ReleaseClaim(ctx context.Context, id string, first int) error {
	return s.change(ctx, 32*max(first, 1), func(t *txn) error {
		c, bits, ok, err := t.claim(id)
		if err != nil || !ok {
			return err
		}
		var fids []string
		for i := range min(first, c.Count) {
			if !isSet(bits, i) {
				fids = append(fids, fidAt(c, i))
			}
		}
		t.delete(claimsBucket, id)
		t.delete(usedBucket, id)
		t.addDrops(fids)
		return nil
	})
}
