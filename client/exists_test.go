package client

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
)

func TestExists(t *testing.T) {
	answers := func(status int) string {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	}
	has, lacks, fails := answers(200), answers(404), answers(500)
	for _, c := range []struct {
		name    string
		servers []string
		want    bool
		unsure  bool
	}{
		{"all", []string{has, has}, true, false},
		{"one", []string{lacks, has}, true, false},
		{"none", []string{lacks, lacks}, false, false},
		{"one and a failure", []string{fails, has}, true, false},
		{"none and a failure", []string{fails, lacks}, false, true},
		{"none and silence", []string{lacks, "127.0.0.1:1"}, false, true},
		{"no volume", nil, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			master := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.servers == nil {
					writeError(w, http.StatusNotFound, "volume 3 not found")
					return
				}
				text := ""
				for _, s := range c.servers {
					text += fmt.Sprintf(`,{"url":%q}`, s)
				}
				fmt.Fprintf(w, `{"locations":[%s]}`, text[1:])
			})
			cl, err := New(Config{Masters: []string{master}, RetryWait: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			got, err := cl.Exists(t.Context(), "3,01637037d6")
			if got != c.want || (err != nil) != c.unsure {
				t.Errorf("%t, %v", got, err)
			}
			if _, err := cl.Exists(t.Context(), "x"); !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
		})
	}
}
