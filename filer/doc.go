// Package filer gives blobs names: a tree of directories and files over HTTP, on a store of records (filer/store)
// and the volume servers of a cluster.
//
// It owns what a record's value means (FORMAT.md), how files are cut into chunks, and the work behind the answers:
// claims of fids, chunks that are to be deleted, trees that were removed. It refuses to keep state of its own
// besides: two filers on one store see one tree.
//
// Invariants:
//   - Chunks first, entry second. A fid is claimed in the store before it is uploaded to, and the change that writes
//     an entry takes its fids out of their claims: whatever dies in between, no blob is left that nothing knows.
//   - Whatever an entry refers to no more is queued in the change that lets go of it, and deleted until the volume
//     servers confirm it.
//   - A body that breaks off, or whose digest is wrong, changes nothing.
//   - A read is whole or visibly broken: never a short success.
//   - Memory is bounded: all chunks in flight share one budget; listings and streams go by pages.
//
// In use:
//
//	f, err := filer.New(filer.Config{Bind: ":8888", Masters: masters}, filer.Deps{Store: s})
//	err = f.Run(ctx) // serves until ctx ends; the caller closes the store afterwards
package filer
