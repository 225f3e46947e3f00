package testcluster_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weed/internal/testcluster"
)

const hello = "hello weed-fs!\n"

// expect sends a request and wants its status, and its body unless that is "*".
func expect(t *testing.T, status int, body, method, url, content string, headers ...string) testcluster.Answer {
	t.Helper()
	a := testcluster.Do(method, url, content, headers...)
	if a.Status != status || body != "*" && string(a.Body) != body {
		t.Errorf("%s %s: %v; want %d %.100q", method, url, a.Err(), status, body)
	}
	return a
}

// submit puts a form with one file, as curl -F does, and returns the answer.
func submit(t *testing.T, url, name, content string) testcluster.Answer {
	t.Helper()
	body, header := testcluster.Form(name, content)
	return testcluster.Do(http.MethodPost, url, body, header)
}

// follow gets a URL and follows one redirect, as curl -L does.
func follow(t *testing.T, url string) testcluster.Answer {
	t.Helper()
	a := testcluster.Do(http.MethodGet, url, "")
	if a.Status != http.StatusMovedPermanently {
		t.Errorf("%s: %v, want a redirect", url, a.Err())
		return a
	}
	return testcluster.Do(http.MethodGet, a.Header.Get("Location"), "")
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return names
}

// TestStoreReadDelete is the walk-through's tour of one file, with one copy on two servers.
func TestStoreReadDelete(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m := c.StartMaster("-v=3")
	c.StartVolume("-v=3", "-dataCenter=dc1", "-max=1")
	c.StartVolume("-v=3", "-dataCenter=dc1", "-rack=r2", "-max=1")
	testcluster.WaitFor(t, "both servers have joined", func() error {
		return atLeast(int64(strings.Count(m.Log(), "volume server joined")), 2)
	})
	for _, want := range []string{"dataCenter=dc1 rack=DefaultRack", "dataCenter=dc1 rack=r2"} {
		if !strings.Contains(m.Log(), want) {
			t.Errorf("the master's log lacks %q", want)
		}
	}
	for _, v := range c.Volumes {
		if names := files(t, v.Dir, "[^.]*"); len(names) != 0 {
			t.Errorf("there are files before the first write: %v", names)
		}
	}

	a := submit(t, m.URL("/submit"), "hello.txt", hello)
	fid, holder := a.Field(t, "fid"), a.Field(t, "fileUrl")
	if a.Status != http.StatusCreated || a.Field(t, "fileName") != "hello.txt" || a.Field(t, "size") != "15" {
		t.Errorf("submit: %v", a.Err())
	}
	home, other := c.Volumes[0], c.Volumes[1]
	if holder == other.Addr+"/"+fid {
		home, other = other, home
	}
	if holder != home.Addr+"/"+fid {
		t.Fatalf("fileUrl %s", holder)
	}
	volume, _, _ := strings.Cut(fid, ",")
	if names := files(t, home.Dir, volume+".*"); !slices.Contains(names, volume+".dat") || !slices.Contains(names, volume+".idx") {
		t.Errorf("files of volume %s: %v", volume, names)
	}
	expect(t, http.StatusOK, hello, http.MethodGet, home.URL("/"+fid), "")
	expect(t, http.StatusOK, "", http.MethodHead, home.URL("/"+fid), "")
	for _, s := range []*testcluster.Server{other, m} {
		expect(t, http.StatusMovedPermanently, "*", http.MethodGet, s.URL("/"+fid), "")
		if a := follow(t, s.URL("/"+fid+"?dl=1")); string(a.Body) != hello ||
			!strings.HasPrefix(a.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("through %s: %v %v", s.Addr, a.Err(), a.Header)
		}
	}

	expect(t, http.StatusAccepted, `{"size":15}`, http.MethodDelete, home.URL("/"+fid), "")
	expect(t, http.StatusNotFound, "*", http.MethodGet, home.URL("/"+fid), "")
	expect(t, http.StatusNotFound, `{"size":0}`, http.MethodDelete, home.URL("/"+fid), "")
	if a := follow(t, m.URL("/"+fid)); a.Status != http.StatusNotFound {
		t.Errorf("a deleted file through the master: %v", a.Err())
	}
}

// TestWithCurl is the README's list of requests.
func TestWithCurl(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m, v := c.StartServer("-volume.max=20")
	c.WaitWritable()

	fid := submit(t, m.URL("/submit"), "hello.txt", hello).Field(t, "fid")
	slashed := strings.Replace(fid, ",", "/", 1)
	for _, path := range []string{fid, fid + ".txt", slashed, slashed + "/hello.txt", strings.ToUpper(fid)} {
		expect(t, http.StatusOK, hello, http.MethodGet, v.URL("/"+path), "")
	}
	expect(t, http.StatusPartialContent, hello[:5], http.MethodGet, v.URL("/"+slashed+"/hello.txt"), "", "Range: bytes=0-4")

	a := expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/dir/assign?count=2&collection=pictures"), "")
	first := a.Field(t, "fid")
	if a := submit(t, "http://"+a.Field(t, "url")+"/"+first, "a.jpg", "jpeg a"); a.Status != http.StatusCreated {
		t.Errorf("put of the first fid: %v", a.Err())
	}
	expect(t, http.StatusCreated, "*", http.MethodPut, v.URL("/"+first+"_1"), "jpeg b")
	expect(t, http.StatusOK, "jpeg a", http.MethodGet, v.URL("/"+first), "")
	expect(t, http.StatusOK, "jpeg b", http.MethodGet, v.URL("/"+first+"_1.jpg"), "")
	expect(t, http.StatusCreated, "*", http.MethodPost, m.URL("/submit"), "a=1&b=2", "Content-Type: application/x-www-form-urlencoded")

	volume, _, _ := strings.Cut(first, ",")
	a = expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/dir/lookup?volumeId="+volume), "")
	if !strings.Contains(string(a.Body), `"url":"`+v.Addr+`"`) {
		t.Errorf("lookup: %s", a.Body)
	}
	a = expect(t, http.StatusOK, "*", http.MethodGet, m.URL("/dir/status?pretty=y"), "")
	if !strings.HasPrefix(string(a.Body), "{\n  \"") {
		t.Errorf("not pretty: %s", a.Body)
	}
	a = expect(t, http.StatusAccepted, "*", http.MethodPost, m.URL("/delete?fid="+fid+"&fid="+first), "")
	var deleted []struct {
		FID    string `json:"fid"`
		Size   int    `json:"size"`
		Status int    `json:"status"`
	}
	if err := json.Unmarshal(a.Body, &deleted); err != nil || len(deleted) != 2 || deleted[0].Size != len(hello) || deleted[1].Status != http.StatusAccepted {
		t.Errorf("delete: %s", a.Body)
	}
	expect(t, http.StatusNotFound, "*", http.MethodGet, v.URL("/"+fid), "")
}

// TestCollections fills all slots of a server, wants the refusal that the walk-through names, and gives it more.
func TestCollections(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m := c.StartMaster()
	v := c.StartVolume("-max=7")
	c.WaitWritable()

	fid := submit(t, m.URL("/submit?collection=picture"), "hello.txt", hello).Field(t, "fid")
	volume, _, _ := strings.Cut(fid, ",")
	for _, suffix := range []string{".dat", ".idx"} {
		if names := files(t, v.Dir, "picture_"+volume+suffix); len(names) != 1 {
			t.Errorf("no picture_%s%s", volume, suffix)
		}
	}
	expect(t, http.StatusNotAcceptable, "*", http.MethodGet, m.URL("/vol/grow?count=8&collection=more"), "")
	testcluster.WaitFor(t, "the slots are used up", func() error {
		a := testcluster.Do(http.MethodGet, m.URL("/vol/grow?count=1&collection=more"), "")
		if a.Status == http.StatusOK || a.Status == http.StatusServiceUnavailable {
			return fmt.Errorf("not yet: %w", a.Err())
		}
		return nil
	})
	if names := files(t, v.Dir, "*.dat"); len(names) != 7 {
		t.Errorf("%d volumes in 7 slots: %v", len(names), names)
	}
	a := submit(t, m.URL("/submit?collection=third"), "hello.txt", hello)
	if !strings.Contains(string(a.Body), "No free volumes left!") &&
		!strings.Contains(string(a.Body), "Cannot grow volume group! Not enough data node found!") {
		t.Errorf("a new collection without slots: %v", a.Err())
	}
	expect(t, http.StatusOK, hello, http.MethodGet, v.URL("/"+fid), "")

	if code := v.Term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	v.Restart("-max=100")
	testcluster.WaitFor(t, "there is room for the collection", func() error {
		return submit(t, m.URL("/submit?collection=third"), "hello.txt", hello).Want(http.StatusCreated)
	})

	expect(t, http.StatusOK, "{}", http.MethodPost, m.URL("/col/delete?collection=picture"), "")
	if names := files(t, v.Dir, "picture_*"); len(names) != 0 {
		t.Errorf("left of a deleted collection: %v", names)
	}
	expect(t, http.StatusNotFound, "*", http.MethodGet, v.URL("/"+fid), "")
	expect(t, http.StatusBadRequest, "*", http.MethodPost, m.URL("/col/delete?collection=picture"), "")
	if names := files(t, v.Dir, "third_*.dat"); len(names) == 0 {
		t.Error("another collection is gone, too")
	}
}

// TestTwoDirectories moves the volumes of one directory into another by hand, as operators do.
func TestTwoDirectories(t *testing.T) {
	t.Parallel()
	c := testcluster.New(t)
	m := c.StartMaster()
	from, to := c.StartVolume("-max=2"), c.StartVolume("-max=9")
	testcluster.WaitFor(t, "both servers have volumes", func() error {
		for i := range 4 {
			testcluster.Do(http.MethodGet, m.URL(fmt.Sprint("/vol/grow?count=1&collection=c", i)), "")
		}
		return atLeast(int64(min(len(files(t, from.Dir, "*.dat")), len(files(t, to.Dir, "*.dat")))), 1)
	})
	fids := make(map[string]string)
	for i := range 20 {
		text := fmt.Sprint("blob ", i)
		a := submit(t, m.URL(fmt.Sprint("/submit?collection=c", i%4)), "x", text)
		if a.Status != http.StatusCreated {
			t.Fatal(a.Err())
		}
		fids[a.Field(t, "fid")] = text
	}
	from.Term()
	to.Term()
	for _, name := range files(t, from.Dir, "[^.]*") {
		if err := os.Rename(filepath.Join(from.Dir, name), filepath.Join(to.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	to.Restart()
	for fid, text := range fids {
		testcluster.WaitFor(t, fid+" is found", func() error {
			a := testcluster.Do(http.MethodGet, m.URL("/"+fid), "")
			if a.Status == http.StatusMovedPermanently {
				a = testcluster.Do(http.MethodGet, a.Header.Get("Location"), "")
			}
			if string(a.Body) != text {
				return a.Err()
			}
			return nil
		})
	}
}
