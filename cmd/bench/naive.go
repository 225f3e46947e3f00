package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/valyala/fasthttp"

	"weed/internal/blob"
	"weed/internal/upload"
	"weed/internal/vfs"
	"weed/storage"
)

// naiveServerEnv makes this program be the other yardstick: a server that keeps two copies in the simplest way. Its
// value is "addr dir" or "addr dir replica".
const naiveServerEnv = "WEED_BENCH_NAIVE_SERVER"

// naive is a store of one volume: it appends each put with the project's engine, and forwards it to the replica as
// an HTTP request of its own, beside that.
type naive struct {
	volume  *storage.Volume
	replica *fasthttp.HostClient // nil at the replica
}

// serveNaive is that server; it only returns when it can't serve.
func serveNaive(setting string) (err error) {
	args := strings.Fields(setting)
	if len(args) < 2 {
		return fmt.Errorf("odd %s", naiveServerEnv)
	}
	store, err := storage.OpenStore(vfs.OS, []storage.Directory{{Path: args[1], MaxVolumes: 1}}, storage.Config{Sync: storage.SyncNever})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	n := &naive{}
	if n.volume, err = store.Create(1, "", blob.Placement{}, blob.TTL{}); err != nil {
		return err
	}
	if len(args) > 2 {
		n.replica = &fasthttp.HostClient{Addr: args[2], MaxConns: 1024}
	}
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	return fasthttp.Serve(ln, n.put)
}

func (n *naive) put(ctx *fasthttp.RequestCtx) {
	forwarded := make(chan error, 1)
	if n.replica == nil {
		forwarded <- nil
	} else {
		go func() { forwarded <- n.forward(&ctx.Request) }()
	}
	if err := errors.Join(n.append(ctx), <-forwarded); err != nil {
		ctx.Error(err.Error(), fasthttp.StatusInternalServerError)
		return
	}
	ctx.SetStatusCode(fasthttp.StatusCreated)
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"name":"b","size":1024}`)
}

func (n *naive) append(ctx *fasthttp.RequestCtx) error {
	p, err := blob.ParsePath(ctx.Path())
	if err != nil {
		return err
	}
	part, err := upload.Parse(ctx.Request.Header.ContentType(), nil, ctx.PostBody())
	if err != nil {
		return err
	}
	return n.volume.Put(&storage.Needle{Key: p.Key, Cookie: p.Cookie, Name: part.Name, Mime: part.Mime, Data: part.Data})
}

func (n *naive) forward(request *fasthttp.Request) error {
	out, answer := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(out)
	defer fasthttp.ReleaseResponse(answer)
	out.Header.SetMethod(fasthttp.MethodPost)
	out.SetRequestURIBytes(request.RequestURI())
	out.SetHost(n.replica.Addr)
	out.Header.SetContentTypeBytes(request.Header.ContentType())
	out.SetBodyRaw(request.Body())
	if err := n.replica.Do(out, answer); err != nil {
		return err
	}
	if code := answer.StatusCode(); code != fasthttp.StatusCreated {
		return fmt.Errorf("the replica answers %d: %s", code, answer.Body())
	}
	return nil
}

// startNaive runs two such servers and returns the one that forwards.
func (b *bench) startNaive() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	setting, last := "", (*process)(nil)
	for i := range 2 {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(b.dir, fmt.Sprintf("naive-%d-", i))
		if err != nil {
			return nil, err
		}
		setting = strings.TrimSpace(addr + " " + filepath.Clean(dir) + " " + setting)
		if last, err = b.start(addr, "env", naiveServerEnv+"="+setting, self); err != nil {
			return nil, err
		}
		setting = addr
	}
	return last, nil
}
