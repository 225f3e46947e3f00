package volume

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"weed/internal/httpx"
	"weed/internal/wire"
	"weed/storage"
)

func TestStatus(t *testing.T) {
	n := start(t, nil)
	n.create(4, "pics")
	n.put("/4,01637037d6", "0123456789")
	n.put("/4,02637037d6", "x")
	n.do("DELETE", "/4,02637037d6", "").want(202)
	var status struct {
		Version      string
		DiskStatuses []map[string]any
		Volumes      []wire.VolumeInfo
	}
	n.get("/status").want(200).has("Content-Type", "application/json").json(&status)
	if status.Version != "v1.2.3" || len(status.Volumes) != 2 || len(status.DiskStatuses) != 1 {
		t.Fatalf("%+v", status)
	}
	if v := status.Volumes[1]; v.ID != 4 || v.Collection != "pics" || v.FileCount != 1 || v.DeleteCount != 1 || v.MaxKey != 2 || v.Version != 3 ||
		v.SizeBytes == 0 || v.DeletedByteCount == 0 || v.ModifiedAtSecond == 0 || v.ReadOnly {
		t.Errorf("%+v", v)
	}
	for _, field := range []string{"dir", "all", "used", "free", "percent_free", "percent_used"} {
		if _, ok := status.DiskStatuses[0][field]; !ok {
			t.Errorf("no %s in %v", field, status.DiskStatuses[0])
		}
	}
	if pretty := n.get("/status?pretty=y").want(200); !strings.HasPrefix(pretty.body, "{\n  \"Version\": \"v1.2.3\",\n") {
		t.Errorf("%.100q", pretty.body)
	}
	n.do("HEAD", "/status", "").want(200).is("")
	n.get("/healthz").want(200).is("{}")
}

func TestPrettyAnswers(t *testing.T) {
	n := start(t, nil)
	n.do("PUT", fid+"?pretty=y", "x").want(201).says("{\n  \"name\": \"\",\n  \"size\": 1,\n  \"eTag\": \"")
	n.do("DELETE", fid+"?pretty=y", "").want(202).is("{\n  \"size\": 1\n}")
	n.do("DELETE", fid+"?pretty=y", "").want(404).is("{\n  \"size\": 0\n}")
	for _, path := range []string{fid, "/x", "/3,x"} {
		n.get(path + "?pretty=y").says("{\n  \"error\": \"")
	}
	n.do("PATCH", fid+"?pretty=y", "").want(405).says("{\n  \"error\": \"")
}

func TestMetrics(t *testing.T) {
	n := start(t, nil)
	n.put(fid, "0123456789")
	n.get(fid).want(200)
	n.get(fid).want(200)
	n.get("/3,ff637037d6").want(404)
	n.do("DELETE", fid, "").want(202)
	text := n.get("/metrics").want(200)
	for _, line := range []string{
		`weed_volume_requests_total{class="2xx",operation="get"} 2`, `weed_volume_requests_total{class="4xx",operation="get"} 1`,
		`weed_volume_requests_total{class="2xx",operation="put"} 1`, `weed_volume_requests_total{class="2xx",operation="delete"} 1`,
		"weed_volume_put_bytes_total 10", `weed_volume_volumes{state="writable"} 1`, `weed_volume_volumes{state="readonly"} 0`,
		"weed_volume_needles 0", "weed_volume_log_bytes ", "weed_volume_deleted_bytes ", "weed_volume_index_bytes ",
	} {
		text.says("\n" + line)
	}
}

func TestOrders(t *testing.T) {
	n := run(t, nil)
	for body, status := range map[string]int{
		"":                             400,
		"x":                            400,
		`{"id":3`:                      400,
		`{"id":"3"}`:                   400,
		`{"id":-1}`:                    400,
		`{"id":4294967296}`:            400,
		`{"id":0,"replication":"000"}`: 400,
		`{"id":5,"replication":"00x"}`: 400,
		`{"id":5,"replication":"000","ttl":"5x"}`:                       400,
		`{"id":5,"replication":"000","collection":"../x"}`:              400,
		`{"id":5,"replication":"000","collection":"a/b"}`:               400,
		`{"id":5,"replication":"000","collection":"` + "\\u0000" + `"}`: 400,
		`{"x":"` + strings.Repeat("x", maxOrderBytes) + `"}`:            413,
	} {
		if got := n.do("POST", wire.PathVolumeCreate, body); got.StatusCode != status {
			t.Errorf("%.60s: %d %s, want %d", body, got.StatusCode, got.body, status)
		}
	}
	var info wire.VolumeInfo
	n.do("POST", wire.PathVolumeCreate, `{"id":5,"replication":"012","ttl":"5d","collection":"a_b"}`).want(200).json(&info)
	if info.ID != 5 || info.Collection != "a_b" || info.TTL != "5d" || info.ReplicaPlacement != (wire.ReplicaPlacement{SameRackCount: 2, DiffRackCount: 1}) {
		t.Errorf("%+v", info)
	}
	n.do("POST", wire.PathVolumeCreate, `{"id":5,"replication":"000"}`).want(409)
	for id := 6; id < 12; id++ {
		n.create(uint32(id), "")
	}
	n.do("POST", wire.PathVolumeCreate, `{"id":12,"replication":"000"}`).want(507).says("-max")

	n.do("PUT", "/5,01637037d6", "x").want(503).says("try again") // it is told of no other copies
	n.get("/5,01637037d6").want(404)
	n.put("/6,01637037d6", "x")
	n.do("POST", wire.PathVolumeDelete, `{"id":5,"collection":"other"}`).want(404)
	n.do("POST", wire.PathVolumeDelete, `{"id":77}`).want(404)
	n.do("POST", wire.PathVolumeDelete, `{`).want(400)
	n.get("/6,01637037d6").want(200)
	n.do("POST", wire.PathVolumeDelete, `{"id":5,"collection":"a_b"}`).want(200).is("{}")
	n.do("POST", wire.PathVolumeDelete, `{"id":6}`).want(200).is("{}")
	n.get("/6,01637037d6").want(404)
	n.do("POST", wire.PathVolumeMark, `{"id":5,"readOnly":true}`).want(404)
	n.do("POST", wire.PathVolumeMark, `x`).want(400)
}

// A large blob that is on its way out is sent to its end, though its volume is deleted meanwhile.
func TestDeletingAVolumeUnderAReader(t *testing.T) {
	n := start(t, nil)
	content := noise(8<<20, 1)
	n.put(fid, content)
	resp, err := n.http.Get("http://" + n.addr + fid)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n.do("POST", wire.PathVolumeDelete, `{"id":3}`).want(200)
	n.get(fid).want(404)
	got := make([]byte, 0, len(content))
	buf := make([]byte, 64<<10)
	for err == nil {
		var k int
		k, err = resp.Body.Read(buf)
		got = append(got, buf[:k]...)
	}
	if string(got) != content {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestWhiteList(t *testing.T) {
	guard, err := httpx.ParseGuard("10.1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	n := run(t, func(c *Config) { c.Guard = guard })
	n.do("PUT", fid, "x").want(403)
	n.do("DELETE", fid, "").want(403)
	n.do("POST", wire.PathVolumeCreate, `{"id":3,"replication":"000"}`).want(403)
	n.get("/status").want(200)
	n.get(fid).want(404)
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"address":                  func(c *Config) { c.Bind = "" },
		"-mserver":                 func(c *Config) { c.Masters = nil },
		"file size limit":          func(c *Config) { c.FileSizeLimitBytes = storage.MaxDataSizeBytes + 1 },
		"file size limit of -":     func(c *Config) { c.FileSizeLimitBytes = -1 << 20 },
		"-concurrentUploadLimitMB": func(c *Config) { c.FileSizeLimitBytes, c.UploadBudgetBytes = 2<<20, 1<<20 },
		"free space":               func(c *Config) { c.MinFreePercent = 100 },
	} {
		cfg := Config{Bind: "127.0.0.1:0", Masters: []string{"127.0.0.1:9333"}}
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{Bind: "127.0.0.1:0", Masters: []string{"no port"}}); err == nil {
		t.Error("a master without a port is taken")
	}
}

func TestRunFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, cfg := range map[string]Config{
		"port":      {Bind: taken.Addr().String(), Dirs: []storage.Directory{{Path: t.TempDir()}}},
		"directory": {Bind: "127.0.0.1:0", Dirs: []storage.Directory{{Path: "/dev/null/x"}}},
	} {
		cfg.Masters = []string{"127.0.0.1:1"}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Run(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if addr, err := s.Addr(ctx); err == nil {
			t.Error(fmt.Sprint(name, ": it listens on ", addr))
		}
	}
}
