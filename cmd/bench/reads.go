package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/valyala/fasthttp"
)

// bareServerEnv makes this program be the yardstick: a fasthttp server that answers every request with the
// same 1 KiB from memory.
const bareServerEnv = "WEED_BENCH_BARE_SERVER"

// serveBare is that server; it only returns when it can't serve.
func serveBare(addr string) error {
	body := bytes.Repeat([]byte{'x'}, 1024)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return fasthttp.Serve(ln, func(ctx *fasthttp.RequestCtx) { ctx.SetBody(body) })
}

// randomReads compares 1 KiB reads over many blobs with a bare fasthttp server and with nginx serving the
// same number of files, in turns.
func (b *bench) randomReads() error {
	s, r, err := b.startFilled(b.blobs, 1024)
	if err != nil {
		return err
	}
	bare, err := b.startBare()
	if err != nil {
		return err
	}
	nginx, err := b.startNginx()
	if err != nil {
		return err
	}
	files := randomScript(b.blobs, `string.format("/%d/%d", i % 256, i)`)
	fixed := randomScript(b.blobs, `"/"`)
	contestants := []struct {
		name, script string
		p            *process
		rates        []float64
	}{
		{"weed", getScript(r), s.volume, nil},
		{"bare fasthttp", fixed, bare, nil},
		{"nginx", files, nginx, nil},
	}
	for range b.rounds {
		for i := range contestants {
			c := &contestants[i]
			if c.p == nil {
				continue
			}
			l, err := b.wrk(c.p.addr, c.script, 64)
			if err == nil && l.failed > 0 {
				err = fmt.Errorf("%.0f of %.0f requests failed", l.failed, l.requests)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.rates = append(c.rates, l.perSec)
		}
	}
	for _, c := range contestants {
		if c.p != nil {
			b.note("random 1 KiB reads, 64 connections: "+c.name, median(c.rates), "/s")
		}
	}
	weed := median(contestants[0].rates)
	b.ratio("against bare fasthttp answering from memory", weed/median(contestants[1].rates), 0.7)
	if nginx != nil {
		b.ratio("against nginx with its open-file cache", weed/median(contestants[2].rates), 2)
	}
	return nil
}

func (b *bench) startBare() (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.start(addr, "env", bareServerEnv+"="+addr, self)
}

// startNginx serves as many files of 1 KiB as there are blobs. Without nginx on the machine it returns nil.
func (b *bench) startNginx() (*process, error) {
	binary, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		fmt.Println("  nginx is not installed: the comparison with it is left out (apt-get install nginx-light)")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	root := filepath.Join(b.dir, "files")
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 256)
	for i := range b.blobs {
		dir := filepath.Join(root, fmt.Sprint(i%256))
		if i < 256 {
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // nginx's workers may be another user
				return nil, err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), data, 0o644); err != nil { //nolint:gosec // as above
			return nil, err
		}
	}
	if err := os.Chmod(b.dir, 0o755); err != nil { //nolint:gosec // as above
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(b.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx.err;
worker_processes 2;
worker_rlimit_nofile 20000;
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=15000 inactive=60s;
  open_file_cache_valid 60s;
  client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3;
  uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
  server { listen %[2]s; root %[3]s; }
}
`, b.dir, addr, root)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return b.start(addr, binary, "-c", conf, "-p", b.dir)
}
