package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// load is what wrk reports.
type load struct {
	requests float64
	failed   float64 // answers other than 2xx and 3xx, and broken connections
	perSec   float64
	p99      float64 // milliseconds
}

// wrk drives addr for the bench's duration with the given Lua script; "" asks for / again and again.
func (b *bench) wrk(addr, script string, connections int) (load, error) {
	args := []string{fmt.Sprintf("-t%d", min(2, connections)), fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(b.duration.Seconds())), "--timeout=10s", "--latency"}
	if script != "" {
		name := filepath.Join(b.dir, "load.lua")
		if err := os.WriteFile(name, []byte(script), 0o600); err != nil {
			return load{}, err
		}
		args = append(args, "-s", name)
	}
	cmd := exec.CommandContext(b.ctx, "wrk", append(args, "http://"+addr+"/")...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var l load
	l.requests = figure(out, `(\d+) requests in`)
	l.perSec = figure(out, `Requests/sec:\s+([\d.]+)`)
	l.failed = figure(out, `Non-2xx or 3xx responses: (\d+)`)
	for unit, ms := range map[string]float64{"us": 1e-3, "ms": 1, "s": 1e3} {
		l.p99 += ms * figure(out, `99%\s+([\d.]+)`+unit+`\n`)
	}
	for _, kind := range []string{"connect", "read", "write", "timeout"} {
		l.failed += figure(out, `Socket errors:.*`+kind+` (\d+)`)
	}
	if l.requests == 0 {
		return l, errors.New("wrk got no answer")
	}
	return l, nil
}

func figure(text []byte, pattern string) float64 {
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return 0
	}
	return v
}

// cost runs a load and returns the microseconds of processor time per request that each process spent.
// A failed request fails the run: a cheap error is no answer.
func (b *bench) cost(addr, script string, connections int, processes ...*process) ([]float64, error) {
	costs, _, err := b.costAndRate(addr, script, connections, processes...)
	return costs, err
}

// costAndRate is cost, and how many requests were answered in a second.
func (b *bench) costAndRate(addr, script string, connections int, processes ...*process) (costs []float64, perSec float64, err error) {
	before := make([]time.Duration, len(processes))
	for i, p := range processes {
		if before[i], err = p.cpu(); err != nil {
			return nil, 0, err
		}
	}
	l, err := b.wrk(addr, script, connections)
	if err == nil && l.failed > 0 {
		err = fmt.Errorf("%.0f of %.0f requests failed", l.failed, l.requests)
	}
	if err != nil {
		return nil, 0, err
	}
	costs = make([]float64, len(processes))
	for i, p := range processes {
		after, err := p.cpu()
		if err != nil {
			return nil, 0, err
		}
		costs[i] = float64((after - before[i]).Nanoseconds()) / 1e3 / l.requests
	}
	return costs, l.perSec, nil
}

// form is the Lua for a multipart upload of so many bytes.
func form(size int) string {
	return fmt.Sprintf(`
local body = "--bb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"b\"\r\n" ..
  "Content-Type: application/octet-stream\r\n\r\n" .. string.rep("\1\2\3\4", %d) .. "\r\n--bb--\r\n"
local headers = {["Content-Type"] = "multipart/form-data; boundary=bb"}
`, size/4)
}

// threads numbers wrk's threads, so that each walks through fids of its own.
const threads = `
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
local k = 0
`

// putScript uploads 1 KiB to the fids of r in turn; past the end it begins again and overwrites.
func putScript(r fidRange) string {
	return threads + form(1024) + fmt.Sprintf(`
function request()
  k = k + 1
  local key = %d + (k * 2 + id) %% %d
  return wrk.format("POST", string.format("/%s,%%08x%s", key), headers, body)
end
`, r.first, r.count, r.volume, r.cookie)
}

// getScript reads the fids of r at random. The requests are made beforehand: making them costs wrk more than a
// server spends on the answer.
func getScript(r fidRange) string {
	return randomScript(r.count, fmt.Sprintf(`string.format("/%s,%%08x%s", %d + i)`, r.volume, r.cookie, r.first))
}

// randomScript asks for paths at random; path is the Lua for that of number i, 0 to count-1.
func randomScript(count int, path string) string {
	return threads + fmt.Sprintf(`
local requests = {}
function init()
  math.randomseed(id + 1)
  for n = 1, 50000 do
    local i = math.random(0, %d)
    requests[n] = wrk.format("GET", %s)
  end
end
function request()
  k = k %% 50000 + 1
  return requests[k]
end
`, count-1, path)
}
