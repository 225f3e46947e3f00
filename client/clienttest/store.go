// Package clienttest is a whole store in memory behind one address, master and volume server in one, for the
// tests of what stands on package client.
//
// It keeps what is put, with its header, and serves it again; it knows neither replicas nor cookies, and
// hands out fids in volumes 1 to 7. It is a fake: what it accepts proves nothing about the real servers.
//
//	s := clienttest.NewStore()
//	defer s.Close()
//	c, err := client.New(client.Config{Masters: []string{s.Addr}})
//	s.OnRead = func(fid string, content []byte) []byte { return content[1:] } // a store that loses a byte
package clienttest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Blob is what a Store holds under a fid. It must not be changed.
type Blob struct {
	Content []byte
	Header  http.Header // of the request that put it
	Query   string      // of that request
}

// Store is the fake. Its hooks are set before the first request, and run one at a time.
type Store struct {
	Addr string // host:port
	// OnRead changes what a read answers; nil is a 404.
	OnRead func(fid string, content []byte) []byte
	// OnWrite sees every put before it is stored; a status other than 0 refuses it.
	OnWrite func(fid string, b Blob) (status int)
	// KeepDeleted makes deletes answer and do nothing.
	KeepDeleted bool

	srv     *httptest.Server
	mu      sync.Mutex
	next    int
	blobs   map[string]Blob
	assigns []string
}

// NewStore starts a store on a port of the loopback interface. Close ends it.
func NewStore() *Store {
	s := &Store{blobs: make(map[string]Blob)}
	s.srv = httptest.NewServer(http.HandlerFunc(s.handle))
	s.Addr = strings.TrimPrefix(s.srv.URL, "http://")
	return s
}

// Close ends the server and waits for its requests.
func (s *Store) Close() { s.srv.Close() }

// Blobs returns what is stored, by fid.
func (s *Store) Blobs() map[string]Blob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.blobs)
}

// Put stores a blob behind the back of the clients.
func (s *Store) Put(fid string, b Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[fid] = b
}

// Assigns returns the queries of the assigns so far.
func (s *Store) Assigns() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.assigns...)
}

func (s *Store) handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone away: nothing of the request counts
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fid := strings.TrimPrefix(r.URL.Path, "/")
	switch {
	case r.URL.Path == "/dir/assign":
		s.next++
		s.assigns = append(s.assigns, r.URL.RawQuery)
		// Key without leading zero bytes, then the cookie.
		key := fmt.Sprintf("%x", s.next)
		key = strings.Repeat("0", len(key)%2) + key
		answer(w, 200, `{"fid":"%d,%s%08x","url":%q,"publicUrl":%q,"count":1}`, 1+s.next%7, key, s.next*2654435761%(1<<32), s.Addr, s.Addr)
	case r.URL.Path == "/dir/lookup":
		answer(w, 200, `{"locations":[{"url":%q,"publicUrl":%q}]}`, s.Addr, s.Addr)
	case r.Method == http.MethodPut || r.Method == http.MethodPost:
		s.put(w, fid, Blob{Content: body, Header: r.Header, Query: r.URL.RawQuery})
	case r.Method == http.MethodDelete:
		s.delete(w, fid)
	default:
		s.get(w, r, fid)
	}
}

func answer(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, format, args...)
}

func (s *Store) put(w http.ResponseWriter, fid string, b Blob) {
	if s.OnWrite != nil {
		if status := s.OnWrite(fid, b); status != 0 {
			answer(w, status, `{"error":"refused"}`)
			return
		}
	}
	s.blobs[fid] = b
	answer(w, 201, `{"size":%d,"eTag":"e1"}`, len(b.Content))
}

func (s *Store) delete(w http.ResponseWriter, fid string) {
	b, ok := s.blobs[fid]
	if !ok {
		answer(w, 404, `{"size":0}`)
		return
	}
	if !s.KeepDeleted {
		delete(s.blobs, fid)
	}
	answer(w, 202, `{"size":%d}`, len(b.Content))
}

func (s *Store) get(w http.ResponseWriter, r *http.Request, fid string) {
	b, ok := s.blobs[fid]
	content := b.Content
	if ok && s.OnRead != nil {
		content = s.OnRead(fid, bytes.Clone(content))
		ok = content != nil
	}
	if !ok {
		answer(w, 404, `{"error":"not found"}`)
		return
	}
	for _, name := range []string{"Content-Disposition", "Content-Type"} {
		if v := b.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	http.ServeContent(w, r, "", time.Unix(1700000000, 0), bytes.NewReader(content))
}
