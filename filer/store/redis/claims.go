package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"weed/filer/store"
)

// Drops implements store.Store.
func (s *Store) Drops(ctx context.Context, after string, limit int) ([]store.Drop, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	from := "-inf"
	if after != "" {
		n, err := strconv.ParseUint(after, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is the ID of no drop", after)
		}
		from = "(" + number(n)
	}
	members, err := s.client.ZRangeArgs(ctx, redis.ZRangeArgs{Key: s.prefix + "drops", Start: from, Stop: "+inf", ByScore: true,
		Count: int64(limit)}).Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	var list []store.Drop
	for _, m := range members {
		id, fid, _ := strings.Cut(m, ":")
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("drop %q is damaged", m)
		}
		list = append(list, store.Drop{ID: fmt.Sprintf("%016x", n), FID: fid})
	}
	return list, nil
}

// AddDrops implements store.Store.
func (s *Store) AddDrops(ctx context.Context, fids []string) error {
	args := make([]any, len(fids))
	for i, fid := range fids {
		args[i] = fid
	}
	_, err := s.run(ctx, "adddrops", "drops", args...)
	return err
}

// Dropped implements store.Store.
func (s *Store) Dropped(ctx context.Context, drops []store.Drop) error {
	var args []any
	for _, d := range drops {
		if n, err := strconv.ParseUint(d.ID, 16, 64); err == nil {
			args = append(args, number(n))
		}
	}
	_, err := s.run(ctx, "dropped", "drops", args...)
	return err
}

// AddClaim implements store.Store.
func (s *Store) AddClaim(ctx context.Context, claim store.Claim) error {
	if claim.ID == "" || claim.Count < 1 || claim.Count > store.MaxClaimFIDs {
		return fmt.Errorf("claim %q of %d fids: give an ID and 1 to %d", claim.ID, claim.Count, store.MaxClaimFIDs)
	}
	text, err := json.Marshal(claim)
	if err != nil {
		return fmt.Errorf("encode a claim: %w", err)
	}
	_, err = s.run(ctx, "addclaim", "claim "+claim.ID, claim.ID, text)
	return err
}

// RenewClaims implements store.Store.
func (s *Store) RenewClaims(ctx context.Context, owner string, until time.Time) error {
	_, err := s.run(ctx, "renew", owner, owner, until.Format(time.RFC3339Nano))
	return err
}

// Claims implements store.Store.
func (s *Store) Claims(ctx context.Context) ([]store.Claim, error) {
	end, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	texts, err := s.client.HVals(ctx, s.prefix+"claims").Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	list := make([]store.Claim, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &list[i]); err != nil {
			return nil, fmt.Errorf("claim %q: %w", text, err)
		}
	}
	return list, nil
}

// Abandon implements store.Store.
func (s *Store) Abandon(ctx context.Context, uses []store.Use) error {
	var args []any
	for _, u := range uses {
		args = append(args, u.Claim, u.Index)
	}
	_, err := s.run(ctx, "abandon", "claims", args...)
	return err
}

// ReleaseClaim implements store.Store.
func (s *Store) ReleaseClaim(ctx context.Context, id string, first int) error {
	_, err := s.run(ctx, "release", "claim "+id, id, first)
	return err
}

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, store.Version, error) {
	answer, err := s.run(ctx, "setting", name, name)
	if err != nil {
		return nil, 0, err
	}
	head, value, ok := strings.Cut(answer[0].(string), ":")
	if !ok {
		return nil, 0, nil
	}
	version, err := versionOf([]any{head}, nil)
	return []byte(value), version, err
}

// SetSetting implements store.Store.
func (s *Store) SetSetting(ctx context.Context, name string, was store.Version, value []byte) (store.Version, error) {
	if name == "" {
		return 0, errors.New("a setting needs a name")
	}
	return versionOf(s.run(ctx, "set", "setting "+name, name, number(uint64(was)), string(value)))
}
