// Package store is the contract between the filer and the key-value store that keeps its tree.
//
// It owns the words (records, conditions, drops, claims) and the errors. Implementations live below it, one folder
// each, and all pass package storetest against their real server. It refuses to know what a value means: a record's
// value is the filer's own encoding, from which Options.FIDs reads the chunks when a subtree is swept.
//
// What every store promises:
//   - A change is whole or absent, after any crash of the filer or of the store, and durable when it is answered.
//     What it replaces, the chunks that are to be deleted and the claims that it uses up change with it.
//   - A record has a parent that is a directory, at any time: a create that races with the removal of its parent
//     has one winner. The root "/" is a directory, is always there, and is no record.
//   - Versions are compared with what is stored at the moment of the change (linearizable), not with what was read.
//   - A directory that is renamed or removed takes all below it along at once, as far as Find and List can see.
//   - ErrUnavailable means: the outcome is unknown, ask again. The other errors mean that nothing has changed.
//
// # Drops
//
// A drop is a fid that no record refers to any more, kept until the volume servers have confirmed that it is gone.
//
// # Claims
//
// A blob is uploaded before the record that refers to it is written. So that a filer that dies in between leaks
// nothing, fids are claimed before they are used: a claim is a run of fids that were assigned together. A record's
// change marks the fids that it refers to as used, atomically. What is still unused when the claim is released
// becomes a drop, and from then on no change can use it (ErrClaimLost): a filer that was only slow can't bring a
// record to life whose chunks are being deleted.
package store

import (
	"context"
	"errors"
	"time"
)

// The kinds of failure that callers branch on. Implementations wrap them with what they concern.
var (
	// ErrNotFound says that there is no record at the path.
	ErrNotFound = errors.New("not found")
	// ErrNoParent says that a directory above the path does not exist.
	ErrNoParent = errors.New("no such directory")
	// ErrNotDirectory says that something above the path, or the path of a listing, is a file.
	ErrNotDirectory = errors.New("not a directory")
	// ErrIsDirectory says that a directory is where a file was meant.
	ErrIsDirectory = errors.New("is a directory")
	// ErrNotEmpty says that a directory has records in it.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrConflict says that a condition does not hold: somebody else was faster.
	ErrConflict = errors.New("has changed meanwhile")
	// ErrIntoItself says that a directory was to be moved to a place below itself.
	ErrIntoItself = errors.New("a directory cannot be moved into itself")
	// ErrClaimLost says that a claim was released before it was used.
	ErrClaimLost = errors.New("claim was released")
	// ErrUnavailable says that the store did not answer: whether a change has come about is unknown.
	ErrUnavailable = errors.New("store is unavailable")
	// ErrClosed says that the store was closed here.
	ErrClosed = errors.New("store is closed")
)

// Path is absolute and clean: "/", or segments of 1 to 255 bytes that are none of ".", "..", and hold no "/" and no
// NUL, each behind one "/". Callers check that; any other bytes are allowed, and order is that of bytes.
type Path string

// Version identifies one state of a record: it is never the same again at the path once the record has changed. 0 is
// the version of what is not there.
type Version uint64

// Record is a file or a directory.
type Record struct {
	Name    string // last segment of its path
	Dir     bool
	Version Version
	Value   []byte // opaque, at most MaxValueBytes; the caller's once it is returned
}

// Bounds that callers keep to and implementations rely on.
const (
	MaxValueBytes = 8 << 20
	MaxListLimit  = 10_000
	MaxPathDepth  = 256 // segments
	MaxClaimFIDs  = 4096
)

// Use names a fid of a claim that a record refers to from now on.
type Use struct {
	Claim string
	Index int // 0 <= Index < Claim.Count
}

// Effects change atomically with a record.
type Effects struct {
	Drops []string // fids that the record as it was referred to, and that nothing does now
	Uses  []Use    // fids that the record refers to now
}

// Claim is a run of fids that a filer may upload to: FID, FID_1 … FID_{Count-1}, as the masters assign them.
type Claim struct {
	ID    string // unique, chosen by the filer
	Owner string // the filer, in its present life
	FID   string
	Count int       // 1 to MaxClaimFIDs
	Until time.Time // when others may release it, unless it is renewed
}

// Drop is a fid that is to be deleted.
type Drop struct {
	ID  string // in the order in which they are listed; unique
	FID string
}

// ListOptions select a page of a directory.
type ListOptions struct {
	Prefix    string // of names
	After     string // names behind this one; "" from the beginning
	Inclusive bool   // After itself, too
	Limit     int    // 1 to MaxListLimit
}

// Swept is what a sweep has done.
type Swept struct {
	Records int  // that are gone now
	More    bool // something is left to sweep
}

// Options are what every store is opened with.
type Options struct {
	// FIDs returns the chunks that a value refers to. It may be called from several goroutines.
	FIDs func(value []byte) ([]string, error)
}

// Store keeps one tree. All methods may be called from several goroutines and, but for an embedded store, by several
// filers. They return when ctx ends; a change that was under way then is ErrUnavailable or ctx's error, with an
// unknown outcome.
type Store interface {
	// Find returns the record at a path that is not "/". Errors: ErrNotFound (also if a parent is missing or a
	// file), ErrUnavailable.
	Find(ctx context.Context, path Path) (Record, error)

	// List returns the records of a directory in byte order of their names, at most limit of them; fewer mean that
	// there are no more. Errors: ErrNotFound, ErrNotDirectory, ErrUnavailable.
	List(ctx context.Context, dir Path, opts ListOptions) ([]Record, error)

	// Put writes a record at a path whose parent exists, if what is there has version was (0: nothing may be
	// there), and returns its new version. record.Name and record.Version are not looked at. What is a directory
	// stays one, and so does what is a file. Errors: ErrConflict, ErrNoParent, ErrNotDirectory, ErrIsDirectory (was
	// is right, but the record is of the other kind), ErrClaimLost, ErrUnavailable.
	Put(ctx context.Context, path Path, was Version, record Record, effects Effects) (Version, error)

	// Remove deletes a file or an empty directory that has version was. Errors: ErrNotFound, ErrConflict,
	// ErrNotEmpty, ErrUnavailable.
	Remove(ctx context.Context, path Path, was Version, effects Effects) error

	// RemoveTree takes a directory of version was away with all below it: it is gone at once for everybody, and
	// Sweep turns its chunks into drops afterwards. Errors: ErrNotFound, ErrNotDirectory, ErrConflict,
	// ErrUnavailable.
	RemoveTree(ctx context.Context, path Path, was Version) error

	// Rename moves the record of version was from one path to another, with all below it, in place of the file of
	// version target that is there (0: nothing). Its value becomes value, unless that is nil. The effects are
	// those of the file that is replaced. Errors: ErrNotFound (from), ErrConflict, ErrNoParent, ErrNotDirectory
	// (of to), ErrIsDirectory (target is one, or from is and target is not 0), ErrIntoItself, ErrUnavailable.
	Rename(ctx context.Context, from Path, was Version, to Path, target Version, value []byte, effects Effects) (Version, error)

	// Moves returns a number that every Rename increases, as it takes effect: if two calls return the same, no record
	// has changed its place between them.
	Moves(ctx context.Context) (uint64, error)

	// Sweep takes up to limit records (at least one) of removed trees away and turns their chunks into drops. It is
	// to be called until nothing is left; several callers may sweep at once. An error that is not ErrUnavailable names
	// records that could not be read: they are gone, and their chunks stay.
	Sweep(ctx context.Context, limit int) (Swept, error)

	// Drops returns up to limit drops behind the one with ID after ("" for the first), in order of their IDs.
	Drops(ctx context.Context, after string, limit int) ([]Drop, error)
	// AddDrops adds fids that are to be deleted.
	AddDrops(ctx context.Context, fids []string) error
	// Dropped forgets drops that are confirmed, or are gone already.
	Dropped(ctx context.Context, drops []Drop) error

	// AddClaim records a claim. It must be durable before the first fid is uploaded to.
	AddClaim(ctx context.Context, claim Claim) error
	// RenewClaims sets Until of all claims of an owner.
	RenewClaims(ctx context.Context, owner string, until time.Time) error
	// Claims returns all claims, those that have expired too, in no order. There are few: some for each filer.
	Claims(ctx context.Context) ([]Claim, error)
	// Abandon turns fids of claims that are not used into drops, and marks them as used; others are left alone, and
	// so are those of claims that are gone.
	Abandon(ctx context.Context, uses []Use) error
	// ReleaseClaim turns the first so many fids of a claim (those that may have been uploaded to) into drops, as far
	// as they are not used, and forgets the claim, whoever has it and whatever its Until. One that is gone is no error.
	ReleaseClaim(ctx context.Context, id string, first int) error

	// Setting returns a value by its name, which is not a path, and its version; nil and 0 if it was never set.
	Setting(ctx context.Context, name string) ([]byte, Version, error)
	// SetSetting replaces a value of version was. Errors: ErrConflict, ErrUnavailable.
	SetSetting(ctx context.Context, name string, was Version, value []byte) (Version, error)

	// Ping returns nil when the store answers.
	Ping(ctx context.Context) error
	// Close waits for what is under way. It is idempotent; later calls of the others fail with ErrClosed.
	Close() error
}
