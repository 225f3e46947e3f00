package filer_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"weed/client"
	"weed/client/filer"
)

func newClient(t *testing.T, answer http.HandlerFunc) *filer.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := filer.New(filer.Config{Address: strings.TrimPrefix(server.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestCopyAsksAgain makes sure that a filer that is busy is asked again, with the whole file.
func TestCopyAsksAgain(t *testing.T) {
	var asked atomic.Int32
	var stored atomic.Value
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		stored.Store(r.URL.Path + " " + r.URL.Query().Get("mode") + " " + string(content))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"name":"x","size":%d}`, len(content))
	})
	name := filepath.Join(t.TempDir(), "a.txt")
	if err := os.WriteFile(name, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	copied, err := c.Copy(t.Context(), filer.CopyConfig{Sources: []string{name}, To: "/x"})
	want := filer.Copied{Files: 1, Bytes: 5, TotalBytes: 5}
	if err != nil || copied != want || stored.Load() != "/x 600 hello" {
		t.Errorf("%+v, %v, stored %v", copied, err, stored.Load())
	}
}

// TestGetThatEndsEarly makes sure that a part never passes for the whole.
func TestGetThatEndsEarly(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush() // the other side sees the end as it aborts
		panic(http.ErrAbortHandler)
	})
	d, err := c.Get(t.Context(), "/x", filer.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(d); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected end", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestErrors tells how failures look.
func TestErrors(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":"nothing there"}`)
	})
	_, err := c.Stat(t.Context(), "/x")
	if refused := new(client.StatusError); !errors.Is(err, client.ErrNotFound) || !errors.As(err, &refused) || refused.Message != "nothing there" {
		t.Error(err)
	}
	if err := c.Delete(t.Context(), "x", false); !errors.Is(err, client.ErrInvalid) {
		t.Error(err)
	}
	_ = c.Close()
	if _, err := c.Stat(t.Context(), "/x"); !errors.Is(err, client.ErrClosed) {
		t.Error(err)
	}
	for _, address := range []string{"", "host", "http://host:1", "host:1/x"} {
		if _, err := filer.New(filer.Config{Address: address}); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("address %q: %v", address, err)
		}
	}
}
