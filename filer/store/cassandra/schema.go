package cassandra

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"weed/filer/store"
)

// tables are those of layout 1, by name. SCHEMA.md says what is in them.
var tables = map[string]string{
	"parts": `(
	part blob, kind tinyint, name blob,
	state tinyint static, op uuid static, mark uuid static, live boolean static, lockpart blob static, locktoken uuid static,
	owner text static, fid text static, count int static, until bigint static, first int static,
	version bigint, child blob, value blob, lpart blob, ltoken uuid, done tinyint, fids map<int, text>,
	PRIMARY KEY ((part), kind, name))`,
	"pending":  `(bucket int, part blob, mark uuid, PRIMARY KEY ((bucket), part, mark))`,
	"trash":    `(bucket int, part blob, lpart blob, ltoken uuid, PRIMARY KEY ((bucket), part, ltoken))`,
	"claims":   `(bucket int, id text, PRIMARY KEY ((bucket), id))`,
	"settings": `(name text PRIMARY KEY, version bigint, value blob)`,
	"moves":    `(id int PRIMARY KEY, n counter)`,
}

// layout is the comment of every table.
const layout = "weed filer store, layout 1"

// prepare checks the schema, creates it if that is wanted, and makes sure that there is a root and the lock of renames.
func (s *Store) prepare(ctx context.Context) error {
	missing, err := s.missingTables(ctx)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if !s.cfg.CreateSchema {
			return fmt.Errorf("keyspace %s has no table %s: start one filer with -cassandra.createSchema",
				s.cfg.Keyspace, strings.Join(missing, ", "))
		}
		if err := s.createSchema(ctx); err != nil {
			return fmt.Errorf("create the schema: %w", err)
		}
	}
	for _, part := range []string{rootPart, renamePart} {
		first := newCAS(part).when("state = null").set("state = ?", stateAlive)
		first.again = true
		if _, err := s.apply(ctx, first); err != nil { // not applied: it is there
			return err
		}
	}
	return nil
}

// missingTables returns the tables that are not there; one of another layout is an error.
func (s *Store) missingTables(ctx context.Context) (missing []string, err error) {
	iter := s.session.Query("SELECT table_name, comment FROM system_schema.tables WHERE keyspace_name = ?", s.cfg.Keyspace).IterContext(ctx)
	there := make(map[string]string)
	var name, comment string
	for iter.Scan(&name, &comment) {
		there[name] = comment
	}
	if err := iter.Close(); err != nil {
		return nil, unavailable(err)
	}
	for name := range tables {
		switch comment, ok := there[name]; {
		case !ok:
			missing = append(missing, name)
		case comment != layout:
			return nil, fmt.Errorf("table %s.%s is not of this version: its comment is %q, not %q", s.cfg.Keyspace, name, comment, layout)
		}
	}
	return missing, nil
}

func (s *Store) createSchema(ctx context.Context) error {
	run := func(statement string) error {
		if err := s.session.Query(statement).ExecContext(ctx); err != nil {
			return unavailable(err)
		}
		return nil
	}
	err := run("CREATE KEYSPACE IF NOT EXISTS " + s.cfg.Keyspace + " WITH replication = " + s.cfg.Replication)
	for name, columns := range tables {
		err = errors.Join(err, run("CREATE TABLE IF NOT EXISTS "+s.table(name)+" "+columns+" WITH comment = '"+layout+"'"))
	}
	if err != nil {
		return err
	}
	if err := s.session.AwaitSchemaAgreement(ctx); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

// table returns a table's full name.
func (s *Store) table(name string) string { return s.cfg.Keyspace + "." + name }
