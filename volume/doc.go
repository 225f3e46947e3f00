// Package volume is the volume server: HTTP over a storage.Store.
//
// It owns the translation between requests and needles (paths, conditions, ranges, types, compression,
// chunk manifests), the limits on uploads, the heartbeat that tells the masters what is here, the HTTP side of
// replication (replicate.go: writes go on to the primary, reads wait for a copy that is current), and the scrub
// that re-reads logs and mends them from other copies (scrub.go, heal.go). It refuses to decide where a blob
// belongs: masters do. How copies stay the same is package replication's. It serves a read from the index in
// memory and one read of the disk.
//
// Invariants:
//   - A byte is only sent if its checksum was verified. An answer that can't be completed is cut off, never
//     filled up or ended early as if it were whole.
//   - An upload that does not arrive whole changes nothing, and neither does one that is refused.
//   - What an uploader, or a foreign volume, says about a blob never frames an answer: types, names and pairs
//     are checked when they become headers, not only when they come in.
//   - Not found, deleted, expired and a wrong cookie are one answer. Errors carry no field of the blob.
//   - A request costs bounded memory: uploads share a budget, downloads are copied up to 64 KiB and streamed
//     above, and compressed content is gone through once at most.
//   - A chunk manifest is followed one level deep.
//
// Goroutines: one per connection (package httpx), one for the heartbeat, one that watches the room on the
// disks, one for the clock of replication, one per server that shares volumes with this one (package link), one
// for the scrub, and up to eight while a manifest's chunks are deleted. Run starts them and waits for them.
//
//	server, err := volume.New(volume.Config{
//		Bind: "127.0.0.1:8080", URL: "127.0.0.1:8080",
//		Dirs:    []storage.Directory{{Path: "./data", MaxVolumes: 7}},
//		Masters: []string{"localhost:9333"},
//	})
//	err = server.Run(ctx) // until ctx ends and requests in flight are answered
package volume
