package shell

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"weed/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeMaster answers with a cluster that does not change, and notes the orders that it gets.
type fakeMaster struct {
	address string

	mu     sync.Mutex
	orders []string
	others string              // further members, as JSON with a comma before
	status map[string]int      // of answers to come, by path
	script map[string][]string // answers by path, the last of which stays
	block  chan struct{}       // if set, /vol/status closes it and waits for the client to go
}

// newFakeMaster listens on a port of five digits, so that tables have the same widths in all runs.
func newFakeMaster(t *testing.T) *fakeMaster {
	t.Helper()
	m := &fakeMaster{status: map[string]int{}}
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if m.address = ln.Addr().String(); len(m.address) != len(shownAddress) {
			defer ln.Close() // keeps the port away from the next try
			continue
		}
		server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: m}}
		server.Start()
		t.Cleanup(server.Close)
		return m
	}
}

// shownAddress stands for the address of the fake master in golden files.
const shownAddress = "127.0.0.1:#####"

const volumeStatus = `{"Volumes":{"DataCenters":{
"dc1":{"r1":{"10.0.0.1:8080":[
 {"Id":1,"Size":8,"Collection":"","ReplicaPlacement":{},"Ttl":"","Primary":"10.0.0.1:8080","Members":["10.0.0.1:8080"],"State":"writable"},
 {"Id":3,"Size":7340032,"Collection":"pictures","ReplicaPlacement":{"DiffDataCenterCount":1},"Ttl":"3d","FileCount":1200,"DeleteCount":7,
  "DeletedByteCount":20480,"ModifiedAtSecond":1700000000,"Primary":"10.0.1.1:8080","Members":["10.0.1.1:8080","10.0.0.1:8080"],"State":"writable"},
 {"Id":10,"Size":1100,"Collection":"pictures","ReplicaPlacement":{"DiffDataCenterCount":1},"Ttl":"","FileCount":1,"ReadOnly":true,
  "ReadOnlyReason":"marked by the operator","Primary":"10.0.0.1:8080","Members":["10.0.0.1:8080"],"State":"readonly"}]}},
"dc2":{"r1":{"10.0.1.1:8080":[
 {"Id":3,"Size":7340032,"Collection":"pictures","ReplicaPlacement":{"DiffDataCenterCount":1},"Ttl":"3d","FileCount":1200,"DeleteCount":7,
  "DeletedByteCount":20480,"ModifiedAtSecond":1700000000,"Primary":"10.0.1.1:8080","Members":["10.0.1.1:8080","10.0.0.1:8080"],"State":"writable"},
 {"Id":1,"Size":9999999,"Collection":"lost","ReplicaPlacement":{},"Ttl":"","FileCount":3,"Primary":"10.0.0.1:8080","Members":["10.0.0.1:8080"],"State":"writable"}]}}}}}`

const topologyStatus = `{"Topology":{"DataCenters":[
{"Id":"dc1","Racks":[{"Id":"r1","DataNodes":[{"Url":"10.0.0.1:8080","PublicUrl":"pub1.example:80","Max":100,"Free":97,"Volumes":3}]}]},
{"Id":"dc2","Racks":[{"Id":"r1","DataNodes":[{"Url":"10.0.1.1:8080","PublicUrl":"10.0.1.1:8080","Max":7,"Free":5,"Volumes":2}]}]}]}}`

func (m *fakeMaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	block, status := m.block, m.status[r.URL.Path]
	members := `{"Address":"` + m.address + `","Voter":true,"Leader":true}` + m.others
	if r.Method != "GET" {
		m.orders = append(m.orders, r.Method+" "+r.URL.RequestURI())
	}
	var scripted string
	if answers := m.script[r.URL.Path]; len(answers) > 0 {
		scripted = answers[0]
		if len(answers) > 1 {
			m.script[r.URL.Path] = answers[1:]
		}
	}
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if refusal, refused := strings.CutPrefix(scripted, "409 "); refused {
		w.WriteHeader(409)
		fmt.Fprintf(w, `{"error":%q}`, refusal)
		return
	} else if scripted != "" {
		fmt.Fprint(w, scripted)
		return
	}
	if status != 0 {
		w.WriteHeader(status)
		fmt.Fprint(w, `{"error":"told to fail"}`)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /readyz", "POST /col/delete", "POST /cluster/remove":
		fmt.Fprint(w, `{}`)
	case "GET /vol/status":
		if block != nil {
			close(block)
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, volumeStatus)
	case "GET /dir/status":
		fmt.Fprint(w, topologyStatus)
	case "GET /cluster/status":
		fmt.Fprintf(w, `{"IsLeader":true,"Leader":"%s","Members":[%s]}`, m.address, members)
	case "POST /vol/grow":
		fmt.Fprint(w, `{"count":2}`)
	case "POST /vol/mark":
		fmt.Fprint(w, `{"servers":["10.0.1.1:8080","10.0.0.1:8080"]}`)
	case "POST /vol/vacuum":
		fmt.Fprint(w, topologyStatus)
	case "POST /cluster/transfer":
		fmt.Fprint(w, `{"leader":"127.0.0.1:1"}`)
	default:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":"no such path"}`)
	}
}

// set changes the master while it serves.
func (m *fakeMaster) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// takeOrders returns the orders since the last call.
func (m *fakeMaster) takeOrders() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	orders := m.orders
	m.orders = nil
	return orders
}

// bench is a Shell on a fake master.
type bench struct {
	*Shell
	master    *fakeMaster
	out, errs buffer
	seen      string // of out, behind what was expected last
}

// newBench makes a Shell; change may alter its configuration.
func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	b := &bench{master: newFakeMaster(t)}
	c, err := client.New(client.Config{Masters: []string{b.master.address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cfg := Config{Client: c, Out: &b.out, Err: &b.errs, Nearest: nearestByPrefix}
	if change != nil {
		change(&cfg)
	}
	b.Shell = New(cfg)
	return b
}

// nearestByPrefix suggests what begins with the same six letters.
func nearestByPrefix(word string, candidates []string) string {
	i := slices.IndexFunc(candidates, func(c string) bool { return len(word) >= 6 && strings.HasPrefix(c, word[:6]) })
	if i < 0 {
		return ""
	}
	return candidates[i]
}

// buffer is a bytes.Buffer that may be read while it is written.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	ready chan struct{} // closed by the next write; nil while nobody waits
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ready != nil {
		close(b.ready)
		b.ready = nil
	}
	return b.b.Write(p)
}

// grown returns a channel that is closed once something was written that nobody has taken.
func (b *buffer) grown() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ready == nil {
		b.ready = make(chan struct{})
	}
	ready := b.ready
	if b.b.Len() > 0 {
		close(ready)
		b.ready = nil
	}
	return ready
}

// take returns what was written since the last call.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.b.Reset()
	return b.b.String()
}

var bg = context.Background()
