// Package storage keeps blobs ("needles") on the disks of one server.
//
// It owns the bytes: superblock, needles, `.dat`, `.idx` and `.meta` files (FORMAT.md draws them), the
// index in memory, group commit, and recovery after a crash. It refuses to know anything of HTTP, of the
// cluster, or of who may read what beyond the cookie.
//
// A Volume is an append-only log. A put and a delete are both an append, made by the volume's only writer,
// the committer, which takes every operation that waits, writes them with one write, makes them durable
// with one sync, and only then publishes them in the index and answers. A Store is the set of volumes in a
// server's directories.
//
// A volume with several copies has a Replicator, which decides when the committer may append and from when on
// what was appended is committed; the copies' bytes come and go through its Log (replica.go and its kin).
//
// Invariants:
//   - An operation that was answered with success is durable as far as the SyncPolicy says, and is found
//     after any crash. One that failed is not readable, neither then nor after a restart.
//   - Bytes past the committed length are never visible to a reader.
//   - `.dat` is the truth. `.idx` is derived, written behind, and checked against `.dat` when a volume opens.
//   - Only a torn tail that nobody was told of is ever cut off. Damage anywhere else makes the volume
//     read-only and is reported with its place.
//   - Every checksum is verified before a byte of a needle is handed out (see Volume.Open for blobs that
//     are sent from the page cache).
//
// Use:
//
//	store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: "./data", MaxVolumes: 7}}, storage.Config{})
//	volume, err := store.Create(3, "pictures", blob.Placement{}, blob.TTL{})
//	_, err = volume.Put(&storage.Needle{Key: 1, Cookie: 0x637037d6, Data: []byte("hello")})
//	needle, _, err := volume.Get(1, 0x637037d6, nil)
//	_, err = volume.Delete(1, 0x637037d6)
//	err = store.Close()
package storage
