package cassandra

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// Setting implements store.Store.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, store.Version, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	return s.setting(ctx, name, s.quorum)
}

func (s *Store) setting(ctx context.Context, name string, consistency gocql.Consistency) (value []byte, version store.Version, err error) {
	var stored int64
	err = s.session.Query("SELECT version, value FROM "+s.table("settings")+" WHERE name = ?", name).
		Consistency(consistency).ScanContext(ctx, &stored, &value)
	if errors.Is(err, gocql.ErrNotFound) {
		return nil, 0, nil
	}
	return value, store.Version(stored), unavailable(err)
}

// SetSetting implements store.Store.
func (s *Store) SetSetting(ctx context.Context, name string, was store.Version, value []byte) (store.Version, error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	if name == "" {
		return 0, errors.New("a setting needs a name")
	}
	version := newVersion()
	cond, args := is("version", int64(was))
	if value == nil {
		value = []byte{} // null would be as if it was never set
	}
	unsure := false
	for try := 0; ; try++ { // settings are never deleted: the condition does not hold again
		applied, err := s.session.Query("UPDATE "+s.table("settings")+" SET version = ?, value = ? WHERE name = ? IF "+cond,
			append([]any{int64(version), value, name}, args...)...).MapScanCASContext(ctx, make(map[string]any))
		if applied && err == nil {
			return version, nil
		}
		if err == nil && !unsure {
			return 0, fmt.Errorf("setting %s: %w", name, store.ErrConflict)
		}
		_, now, failed := s.setting(ctx, name, s.serial)
		switch {
		case failed != nil:
			return 0, failed
		case now == version:
			return version, nil
		case err == nil || now != was || try >= maxSends:
			return 0, fmt.Errorf("%w: setting %s may have been changed, and changed again", store.ErrUnavailable, name)
		}
		unsure = true
		if err := pause(ctx, try); err != nil {
			return 0, err
		}
	}
}
