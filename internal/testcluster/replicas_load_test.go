package testcluster_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weed/internal/testcluster"
)

const (
	mostEvents   = 400 // of one blob
	mostUnknowns = 6   // of one blob
	working      = 4   // blobs of a volume that are used at a time
)

// blobs are the fids of one volume. A few of them are used at a time; one that has had enough makes way for the next.
type blobs struct {
	volume  string
	copies  int
	members []*testcluster.Server

	mu    sync.Mutex // guards the fields below
	first string     // fid
	next  int
	used  []*history
	now   []*history
}

func (b *blobs) pick(random *rand.Rand) *history {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := random.IntN(working)
	for len(b.now) <= i {
		b.now = append(b.now, b.fresh())
	}
	if !b.now[i].begin(mostEvents, mostUnknowns) {
		b.now[i] = b.fresh()
		b.now[i].begin(mostEvents, mostUnknowns)
	}
	return b.now[i]
}

func (b *blobs) fresh() *history {
	h := &history{fid: fmt.Sprintf("%s_%d", b.first, b.next)}
	b.next++
	b.used = append(b.used, h)
	return h
}

// registerLoad is clients that put, overwrite, get and delete blobs, and write down what happens.
type registerLoad struct {
	t        *testing.T
	c        *testcluster.Cluster
	began    time.Time
	volumes  []*blobs
	versions atomic.Int64
	counts   [3]atomic.Int64 // by outcome
}

// run lets a client work until ctx ends.
func (l *registerLoad) run(ctx context.Context, client int, random *rand.Rand) {
	for ctx.Err() == nil {
		b := l.volumes[random.IntN(len(l.volumes))]
		h := b.pick(random)
		limit := 20 * time.Second
		if random.IntN(20) == 0 {
			limit = time.Second
		}
		switch dice := random.IntN(10); {
		case dice < 4:
			limit = time.Duration(1+random.IntN(5)) * time.Second
			l.get(client, h, l.c.Volumes[random.IntN(len(l.c.Volumes))], l.viaMaster(random), limit)
		case dice < 8:
			l.put(client, h, b.members[random.IntN(len(b.members))], l.viaMaster(random), limit)
		default:
			l.remove(client, h, b.members[random.IntN(len(b.members))], l.viaMaster(random), limit)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(random.IntN(40)) * time.Millisecond):
		}
	}
}

// viaMaster returns a master now and then, else nil.
func (l *registerLoad) viaMaster(random *rand.Rand) *testcluster.Server {
	if random.IntN(8) > 0 {
		return nil
	}
	return l.c.Masters[random.IntN(len(l.c.Masters))]
}

// ask sends a request and follows redirects, as curl -L does. What a request that was answered by a redirect has not
// done, the one that follows it may.
func (l *registerLoad) ask(e *event, limit time.Duration, method, fid, body string, at, master *testcluster.Server, headers ...string) testcluster.Answer {
	url := at.URL("/" + fid)
	if master != nil {
		url = master.URL("/" + fid)
	}
	e.via = strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"+fid)
	e.from = time.Since(l.began)
	var a testcluster.Answer
	for range 6 {
		a = testcluster.DoWithin(limit, method, url, body, headers...)
		if a.Status != http.StatusMovedPermanently && a.Status != http.StatusTemporaryRedirect {
			break
		}
		url = a.Header.Get("Location")
		e.via += " -> " + strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/"+fid)
	}
	e.to = time.Since(l.began)
	e.say = strconv.Itoa(a.Status)
	if a.Status >= 300 || a.Status == 0 {
		e.say = a.Err().Error()
	}
	return a
}

// note classifies what has come of a write, and adds it to the history.
func (l *registerLoad) note(h *history, e event, a testcluster.Answer) {
	switch a.Status {
	case http.StatusCreated, http.StatusAccepted:
		e.result = done
	case 0:
		e.result = unknown
		if a.NeverSent() {
			e.result = failed
		}
	case http.StatusGatewayTimeout:
		e.result = unknown
	case http.StatusNotFound:
		e.result = failed // the volume is not here
		if e.what == actDelete && string(a.Body) == `{"size":0}` {
			e.result, e.found = done, ""
		}
	case http.StatusServiceUnavailable, http.StatusInsufficientStorage, http.StatusTooManyRequests:
		e.result = failed
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		e.result = failed // nobody took it
	case http.StatusInternalServerError:
		e.result = failed
		if !bytes.Contains(a.Body, []byte("damaged")) { // which it may be, and no other copy be there to mend it from
			l.t.Errorf("%s: %v", h.fid, e)
		}
	default:
		l.t.Errorf("%s: %v", h.fid, e)
		e.result = failed
	}
	l.counts[e.result].Add(1)
	h.add(e)
}

func (l *registerLoad) put(client int, h *history, at, master *testcluster.Server, limit time.Duration) {
	version := int(l.versions.Add(1))
	data, mime := content(h.fid, version)
	e := event{client: client, what: actPut, value: strconv.Itoa(version)}
	a := l.ask(&e, limit, http.MethodPut, h.fid, string(data), at, master, "Content-Type: "+mime)
	l.note(h, e, a)
}

func (l *registerLoad) remove(client int, h *history, at, master *testcluster.Server, limit time.Duration) {
	e := event{client: client, what: actDelete, found: something}
	a := l.ask(&e, limit, http.MethodDelete, h.fid, "", at, master)
	l.note(h, e, a)
}

// get reads a blob, and returns false if that did not tell anything.
func (l *registerLoad) get(client int, h *history, at, master *testcluster.Server, limit time.Duration) bool {
	e := event{client: client, what: actGet}
	a := l.ask(&e, limit, http.MethodGet, h.fid, "", at, master)
	switch a.Status {
	case http.StatusOK:
		e.found = l.versionOf(h, e, a.Body)
	case http.StatusNotFound:
		e.found = ""
	default:
		e.result = failed
	}
	l.counts[e.result].Add(1)
	h.add(e)
	return e.result == done
}

// versionOf returns whose content that is, which must be whole.
func (l *registerLoad) versionOf(h *history, e event, body []byte) string {
	head, _, _ := bytes.Cut(body, []byte("\n"))
	fid, text, _ := strings.Cut(string(head), "#")
	version, err := strconv.Atoi(text)
	if err == nil && fid == h.fid {
		if want, _ := content(fid, version); bytes.Equal(want, body) {
			return text
		}
	}
	l.t.Errorf("%s: %d bytes %.40q that nobody has put: %v", h.fid, len(body), body, e)
	return "?"
}
