// Package volume is the volume server: HTTP over a storage.Store.
//
// It owns the translation between requests and needles (paths, conditions, ranges, types, compression,
// chunk manifests), the limits on uploads, and the heartbeat that tells the masters what is here. It refuses
// to decide where a blob belongs: masters do. It serves a read from the index in memory and one read of
// the disk.
//
// Goroutines: one per connection (package httpx), one for the heartbeat. Run starts them and waits for them.
//
//	server, err := volume.New(volume.Config{
//		Bind: "127.0.0.1:8080", URL: "127.0.0.1:8080",
//		Dirs:    []storage.Directory{{Path: "./data", MaxVolumes: 7}},
//		Masters: []string{"localhost:9333"},
//	})
//	err = server.Run(ctx) // until ctx ends and requests in flight are answered
package volume
