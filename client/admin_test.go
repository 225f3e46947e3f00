package client

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

// orders is a fake master that answers from a table by method and URI, and notes what it was asked.
type orders struct {
	mu      sync.Mutex
	answers map[string][]string // "200 body" in turn, the last one for ever
	asked   []string
}

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := r.Method + " " + r.URL.RequestURI()
	o.asked = append(o.asked, key)
	answers := o.answers[key]
	if key == "GET /readyz" && len(answers) == 0 {
		answers = []string{"200 {}"}
	}
	if len(answers) == 0 {
		writeError(w, 404, "no such path")
		return
	}
	if len(answers) > 1 {
		o.answers[key] = answers[1:]
	}
	status, body, _ := strings.Cut(answers[0], " ")
	if status == "503" {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(map[string]int{"200": 200, "400": 400, "404": 404, "406": 406, "409": 409, "500": 500, "503": 503}[status])
	w.Write([]byte(body))
}

func (o *orders) log() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

// newAdmin returns a client of a master that is down and of one that answers.
func newAdmin(t *testing.T, answers map[string][]string) (*Client, *fakeClock, *orders) {
	t.Helper()
	o := &orders{answers: answers}
	c, clock := newTestClient(t, Config{Masters: []string{deadAddr(t), serve(t, o.ServeHTTP)}})
	return c, clock, o
}

const volumeStatus = `200 {"Version":"test","Volumes":{"Max":14,"Free":9,"DataCenters":{
	"dc2":{"r1":{"c:8083":[
		{"Id":9,"Size":80,"Collection":"","ReplicaPlacement":{},"Ttl":"","FileCount":2,"Primary":"c:8083","Members":["c:8083"],"State":"writable"},
		{"Id":3,"Size":900,"Collection":"other","ReplicaPlacement":{},"Ttl":"","Primary":"b:8082","Members":["b:8082","a:8081"],"State":"readonly"}]}},
	"dc1":{"r2":{"b:8082":[
		{"Id":3,"Size":700,"Collection":"pic","ReplicaPlacement":{"SameRackCount":0,"DiffRackCount":1,"DiffDataCenterCount":0},"Ttl":"3d",
		 "FileCount":5,"DeleteCount":1,"DeletedByteCount":40,"ReadOnly":true,"ReadOnlyReason":"damaged","ModifiedAtSecond":1700000000,
		 "Primary":"b:8082","Members":["b:8082","a:8081"],"State":"readonly"}]},
		"r1":{"a:8081":[
		{"Id":3,"Size":650,"Collection":"pic","ReplicaPlacement":{"SameRackCount":0,"DiffRackCount":1,"DiffDataCenterCount":0},"Ttl":"3d",
		 "Primary":"b:8082","Members":["b:8082","a:8081"],"State":"readonly"}]}}}}}`

func TestVolumeList(t *testing.T) {
	c, _, _ := newAdmin(t, map[string][]string{"GET /vol/status": {volumeStatus}})
	got, err := c.VolumeList(bg)
	want := []Volume{
		{ID: 3, Collection: "pic", Replication: "010", TTL: "3d", Primary: "b:8082", Copies: []VolumeCopy{
			{Server: "b:8082", DataCenter: "dc1", Rack: "r2", SizeBytes: 700, FileCount: 5, DeleteCount: 1,
				DeletedByteCount: 40, ReadOnly: true, ReadOnlyReason: "damaged", ModifiedAtSecond: 1700000000},
			{Server: "a:8081", DataCenter: "dc1", Rack: "r1", SizeBytes: 650},
			{Server: "c:8083", DataCenter: "dc2", Rack: "r1", SizeBytes: 900, Stray: true},
		}},
		{ID: 9, Replication: "000", Writable: true, Primary: "c:8083", Copies: []VolumeCopy{
			{Server: "c:8083", DataCenter: "dc2", Rack: "r1", SizeBytes: 80, FileCount: 2},
		}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v\nwant %+v", got, err, want)
	}
	if got[0].Size() != 700 {
		t.Errorf("size %d, want that of the largest copy that is no stray", got[0].Size())
	}
}

func TestServerList(t *testing.T) {
	c, _, _ := newAdmin(t, map[string][]string{"GET /dir/status": {`200 {"Topology":{"DataCenters":[{"Id":"dc1","Racks":[
		{"Id":"r1","DataNodes":[{"Url":"a:8081","PublicUrl":"p:80","Max":7,"Free":3,"Volumes":4,"VolumeIds":"1-4"}]},{"Id":"r2"}]}]}}`}})
	got, err := c.ServerList(bg)
	want := []Server{{URL: "a:8081", PublicURL: "p:80", DataCenter: "dc1", Rack: "r1", Volumes: 4, Free: 3, Max: 7}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestOrders(t *testing.T) {
	c, _, o := newAdmin(t, map[string][]string{
		"POST /vol/grow?count=3&collection=a%2Fb&replication=001&dataCenter=dc1": {`200 {"count":2}`},
		"POST /vol/mark?volumeId=3&readonly=true":                                {`200 {"volumeId":3,"readonly":true,"servers":["a:1","b:1"]}`},
		"POST /col/delete?collection=a+b":                                        {`200 {}`},
		"POST /cluster/remove?peer=h%3A9334":                                     {`200 {"removed":"h:9334"}`},
		"POST /cluster/transfer":                                                 {`200 {"leader":"h:9335"}`},
		"POST /cluster/transfer?peer=h%3A9":                                      {`404 {"error":"master h:9 not found"}`},
		"GET /cluster/status":                                                    {`200 {"Leader":"h:9333","Members":[{"Address":"h:9333","Voter":true,"Leader":true}]}`},
	})
	made, err := c.Grow(bg, 3, AssignOptions{Collection: "a/b", Replication: "001", DataCenter: "dc1", Count: 99})
	if made != 2 || err != nil {
		t.Errorf("Grow = %d, %v", made, err)
	}
	if servers, err := c.MarkVolume(bg, 3, true); !slices.Equal(servers, []string{"a:1", "b:1"}) || err != nil {
		t.Errorf("MarkVolume = %v, %v", servers, err)
	}
	if err := c.DeleteCollection(bg, "a b"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveMaster(bg, "h:9334"); err != nil {
		t.Error(err)
	}
	if leader, err := c.TransferLeadership(bg, ""); leader != "h:9335" || err != nil {
		t.Errorf("TransferLeadership = %q, %v", leader, err)
	}
	if _, err := c.TransferLeadership(bg, "h:9"); !errors.Is(err, ErrNotFound) {
		t.Errorf("TransferLeadership to nobody = %v", err)
	}
	status, err := c.ClusterStatus(bg)
	if want := []Member{{"h:9333", true, true}}; err != nil || !slices.Equal(status.Members, want) {
		t.Errorf("ClusterStatus = %+v, %v", status, err)
	}
	asked := o.log()
	for _, call := range []error{
		func() error { _, err := c.Grow(bg, 0, AssignOptions{}); return err }(),
		c.DeleteCollection(bg, ""),
	} {
		if !errors.Is(call, ErrInvalid) || len(o.log()) != len(asked) {
			t.Errorf("%v, after the requests %v", call, o.log()[len(asked):])
		}
	}
}

func TestOrdersWaitForALeader(t *testing.T) {
	c, clock, o := newAdmin(t, map[string][]string{
		"GET /readyz":            {`503 {"error":"no leader"}`, "200 {}"},
		"POST /vol/grow?count=1": {`503 {"error":"no leader"}`, `200 {"count":1}`},
		"POST /vol/grow?count=2": {`500 {"error":"Cannot grow volume group! Not enough data node found!"}`},
	})
	if made, err := c.Grow(bg, 1, AssignOptions{}); made != 1 || err != nil {
		t.Fatalf("Grow = %d, %v", made, err)
	}
	want := []string{"GET /readyz", "GET /readyz", "POST /vol/grow?count=1", "GET /readyz", "POST /vol/grow?count=1"}
	if got := o.log(); !slices.Equal(got, want) || len(clock.Slept()) != 2 {
		t.Errorf("asked %v and slept %v, want %v", got, clock.Slept(), want)
	}
	if _, err := c.Grow(bg, 2, AssignOptions{}); !errors.Is(err, ErrNoFreeVolumes) {
		t.Errorf("Grow = %v, want ErrNoFreeVolumes", err)
	}
	if got := o.log()[len(want):]; len(got) != 2 {
		t.Errorf("an order that failed was sent again: %v", got)
	}
}
