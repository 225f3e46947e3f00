package cassandra

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/apache/cassandra-gocql-driver/v2"

	"weed/filer/store"
)

// The names of partitions: a letter, then what makes it unique.
const (
	rootPart   = "d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	renamePart = "l" // holds the lock of directory renames
)

func newPart(letter string) string { id := newUUID(); return letter + string(id[:]) }
func claimPart(id string) string   { return "c" + id }

// The states of a partition. No state is that of what does not exist.
const (
	stateAlive     = int8(1) // a directory that is in the tree, or a claim that may be used
	stateDead      = int8(2) // a directory that was removed: for ever
	stateClosing   = int8(3) // a directory that is being removed, if it is empty, by the holder of the lock
	stateDrops     = int8(4) // nothing but drops
	stateReleasing = int8(5) // a claim that is being released: for ever
)

// The kinds of rows in a partition.
const (
	kindEntry = int8(0) // name is the record's
	kindDrops = int8(1) // name is any unique one
	kindToken = int8(2) // name is the token
	kindIndex = int8(3) // name is the index of a claim's fid, 4 bytes big-endian
)

// What a token says.
const (
	undecided = int8(0) // there is no token
	committed = int8(1)
	aborted   = int8(2)
)

// lock refers to the token that decides the change which holds it; the zero lock is none.
type lock struct {
	part  string
	token gocql.UUID
}

func (l lock) held() bool   { return l.token != gocql.UUID{} }
func (l lock) name() string { return string(l.token[:]) }

// statics are the columns that a partition has once.
type statics struct {
	state    int8
	op, mark gocql.UUID
	live     bool // there is a row of pending for the partition and mark
	lock     lock
}

// statics reads them; the zero value is that of a partition that does not exist.
func (s *Store) statics(ctx context.Context, part string) (st statics, err error) {
	var lockPart []byte
	err = s.session.Query(s.parts("SELECT DISTINCT state, op, mark, live, lockpart, locktoken FROM PARTS WHERE part = ?"), []byte(part)).
		ScanContext(ctx, &st.state, &st.op, &st.mark, &st.live, &lockPart, &st.lock.token)
	st.lock.part = string(lockPart)
	if errors.Is(err, gocql.ErrNotFound) {
		return statics{}, nil
	}
	return st, unavailable(err)
}

// entry is a row of a directory.
type entry struct {
	name    string
	version store.Version // 0: there is none
	child   string        // the partition of a directory, "" of a file
	value   []byte
	lock    lock // of a rename that takes it away
}

func (e entry) there() bool { return e.version != 0 }
func (e entry) dir() bool   { return e.child != "" }

func (e entry) record() store.Record {
	return store.Record{Name: e.name, Dir: e.dir(), Version: e.version, Value: e.value}
}

const entryColumns = "name, version, child, value, lpart, ltoken"

// scanEntry scans the entryColumns of one row.
func scanEntry(scan func(...any) bool) (e entry, ok bool) {
	var name, child, lockPart []byte
	var version int64
	ok = scan(&name, &version, &child, &e.value, &lockPart, &e.lock.token)
	e.name, e.child, e.lock.part, e.version = string(name), string(child), string(lockPart), store.Version(version)
	return e, ok
}

// stored returns a row as it is stored.
func (s *Store) stored(ctx context.Context, part, name string) (entry, error) {
	iter := s.session.Query(s.parts("SELECT "+entryColumns+" FROM PARTS WHERE part = ? AND kind = ? AND name = ?"),
		[]byte(part), kindEntry, []byte(name)).IterContext(ctx)
	e, ok := scanEntry(iter.Scan)
	if err := iter.Close(); err != nil {
		return entry{}, unavailable(err)
	}
	if !ok {
		return entry{name: name}, nil
	}
	return e, nil
}

// lookup returns what a directory holds under a name: the zero version for a record that a rename has taken away.
func (s *Store) lookup(ctx context.Context, part, name string) (entry, error) {
	var before lock
	for {
		e, err := s.stored(ctx, part, name)
		// If the lock is still there after its token was not, the token had not been there for good.
		if err != nil || !e.lock.held() || e.lock == before {
			return e, err
		}
		says, _, err := s.token(ctx, e.lock)
		switch {
		case err != nil:
			return entry{}, err
		case says == committed:
			return entry{name: name, lock: e.lock}, nil
		case says == aborted:
			return e, nil
		}
		before = e.lock
	}
}

// bucket spreads what all partitions have a row of.
func bucket(part string) int {
	h := fnv.New32a()
	h.Write([]byte(part))
	return int(h.Sum32() % buckets)
}

const buckets = 16

func indexName(i int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(i))) }

// is returns a condition on a column, "column = null" for a zero value.
func is[T comparable](column string, v T) (string, []any) {
	var zero T
	if v == zero {
		return column + " = null", nil
	}
	return column + " = ?", []any{v}
}
