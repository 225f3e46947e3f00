// Package filer is the Go client of a filer: files and directories by path, over HTTP. Programs import it as a library;
// `weed filer.copy` and the fs commands of `weed shell` are made of it.
//
// It owns the spelling of requests and the reading of answers, holds no file in memory, and shares the error kinds of
// package client: client.ErrNotFound, client.ErrUnavailable and so on, with a *client.StatusError for what the filer
// said. It refuses to hide an unknown outcome: nothing that changes the tree is sent twice, and a download that ends
// early is io.ErrUnexpectedEOF.
//
//	c, err := filer.New(filer.Config{Address: "localhost:8888"})
//	if err != nil { … }
//	defer c.Close()
//	w, err := c.Put(ctx, "/pictures/a.jpg", file, filer.PutOptions{Mode: 0o600})
//	d, err := c.Get(ctx, "/pictures/a.jpg", filer.GetOptions{})
//	for entry, err := range c.List(ctx, "/pictures", filer.ListOptions{}) { … }
//	err = c.Rename(ctx, "/pictures/a.jpg", "/pictures/b.jpg")
//	err = c.Delete(ctx, "/pictures", true)
//
// Paths are absolute and not escaped; a filer refuses those with empty segments, "." or "..".
package filer
