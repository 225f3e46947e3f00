package volume

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/wire"
)

func TestConditionalWrites(t *testing.T) {
	n := start(t, nil)
	const old, changed, newer = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
	const content = "as it is"
	tag := n.put(fid, content).Header.Get("ETag")
	const other = `"00000000"`
	for _, c := range []struct {
		there, absent int // statuses of a PUT
		header        []string
	}{
		{201, 201, nil},
		{201, 412, []string{"If-Match", tag}},
		{201, 412, []string{"If-Match", "*"}},
		{201, 412, []string{"If-Match", other + ", " + tag}},
		{201, 412, []string{"If-Match", other, "If-Match", tag}},
		{412, 412, []string{"If-Match", other}},
		{412, 412, []string{"If-Match", "W/" + tag}}, // weak tags never match strongly
		{412, 201, []string{"If-None-Match", "*"}},
		{412, 201, []string{"If-None-Match", tag}},
		{412, 201, []string{"If-None-Match", "W/" + tag}},
		{201, 201, []string{"If-None-Match", other}},
		{412, 201, []string{"If-Unmodified-Since", old}},
		{201, 201, []string{"If-Unmodified-Since", changed}},
		{201, 201, []string{"If-Unmodified-Since", newer}},
		{201, 201, []string{"If-Unmodified-Since", "yesterday"}},
		{201, 412, []string{"If-Match", tag, "If-Unmodified-Since", old}}, // RFC 9110 section 13.1.4
		{412, 412, []string{"If-Match", tag, "If-None-Match", "*"}},
		{201, 201, []string{"If-Modified-Since", newer, "Range", "bytes=0-1", "If-Range", other}}, // for reads
	} {
		for _, method := range []string{"PUT", "POST", "DELETE"} {
			name := fmt.Sprintf("%s with %q", method, c.header)
			n.put(fid+"?ts=784111777", content)
			success := http.StatusCreated
			if method == "DELETE" {
				success = http.StatusAccepted
			}
			want, is := c.there, content
			if want == 201 {
				want, is = success, "changed"
			}
			a := n.do(method, fid, "changed", c.header...)
			if a.StatusCode != want {
				t.Errorf("%s: %d %s, want %d", name, a.StatusCode, a.body, want)
			}
			if method == "DELETE" && want == success {
				n.get(fid).want(404)
			} else {
				n.get(fid).want(200).is(is)
			}
			n.do("DELETE", fid, "")
			if want = c.absent; method == "DELETE" {
				want = 404 // whatever the conditions (RFC 9110 section 13.2.1)
			}
			if a = n.do(method, fid, "made", c.header...); a.StatusCode != want {
				t.Errorf("%s where nothing is: %d %s, want %d", name, a.StatusCode, a.body, want)
			}
			if n.get(fid).StatusCode == 200 != (want == 201) {
				t.Errorf("%s where nothing is left %s", name, n.get(fid).body)
			}
		}
	}
	n.put(fid, content)
	n.do("PUT", "/3,01aaaaaaaa", "x", "If-None-Match", "*").want(403)
	n.do("PUT", "/3,01aaaaaaaa", "x", "If-Match", tag).want(412)
	n.do("PUT", "/3,0112", "x", "If-Match", tag).want(400)
	n.do("PUT", "/4,01637037d6", "x", "If-Match", "*").want(404)
	n.do("POST", wire.PathVolumeMark, `{"id":3,"readOnly":true}`).want(200)
	n.do("PUT", fid, "x", "If-None-Match", "*").want(503)
}

// TestConditionalDeleteOfAManifest spares the chunks when the condition is false.
func TestConditionalDeleteOfAManifest(t *testing.T) {
	n := start(t, nil)
	n.put("/3,02637037d6", "chunk")
	n.master.hold("3", n.addr)
	tag := n.put(fid+"?cm=true", `{"size":5,"chunks":[{"fid":"3,02637037d6","offset":0,"size":5}]}`).Header.Get("ETag")
	n.do("DELETE", fid, "", "If-Match", `"00000000"`).want(412)
	n.get(fid).want(200).is("chunk")
	n.do("DELETE", fid, "", "If-Match", tag).want(202).is(`{"size":5}`)
	n.get(fid).want(404)
	n.get("/3,02637037d6").want(404)
}

// TestConditionsAreDecidedWithTheWrite: of many that create a blob only if it is not there one does, and no
// increment by compare-and-swap is lost.
func TestConditionsAreDecidedWithTheWrite(t *testing.T) {
	n := start(t, nil)
	const clients, rounds = 8, 10
	attempt := func(tag, name, body string) bool {
		a, err := n.try("PUT", fid, strings.NewReader(body), name, tag)
		if err != nil || a.StatusCode != 201 && a.StatusCode != 412 {
			t.Errorf("PUT: %v, %v", a, err)
			return true
		}
		return a.StatusCode == 201
	}
	var made atomic.Int64
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			if attempt("*", "If-None-Match", "0") {
				made.Add(1)
			}
			for range rounds {
				for swapped := false; !swapped; {
					a, err := n.try("GET", fid, nil)
					if err != nil || a.StatusCode != 200 {
						t.Errorf("GET: %v, %v", a, err)
						return
					}
					count, err := strconv.Atoi(a.body)
					if err != nil {
						t.Error(err)
						return
					}
					swapped = attempt(a.Header.Get("ETag"), "If-Match", strconv.Itoa(count+1))
				}
			}
		})
	}
	group.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
	n.get(fid).want(200).is(strconv.Itoa(clients * rounds))
}

// TestNothingIsModifiedInTheFuture: Last-Modified is not later than Date (RFC 9110 section 8.8.2.1), neither while
// the second changes nor with a ts that lies ahead.
func TestNothingIsModifiedInTheFuture(t *testing.T) {
	n := start(t, nil)
	check := func() {
		t.Helper()
		a := n.get(fid).want(200)
		modified, err1 := http.ParseTime(a.Header.Get("Last-Modified"))
		date, err2 := http.ParseTime(a.Header.Get("Date"))
		if err1 != nil || err2 != nil || modified.After(date) {
			t.Fatalf("Last-Modified %q, Date %q", a.Header.Get("Last-Modified"), a.Header.Get("Date"))
		}
	}
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; {
		n.put(fid, "now")
		check()
		n.put(fid+"?ts="+strconv.FormatInt(time.Now().Unix(), 10), "now, by the client's clock")
		check()
	}
	n.put(fid+"?ts=4102444800", "next century")
	check()
}
