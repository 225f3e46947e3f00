package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"weed/internal/wire"
)

// listedCopy is a fake volume server that lists its needles, two on a page, and has the blobs of some keys.
type listedCopy struct {
	needles []wire.LiveNeedle
	has     string // keys of the blobs that HEAD finds
	revised bool   // it was compacted after the first page
	asked   atomic.Int32
}

func (c *listedCopy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		key := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/3,"), "00000001")
		if c.asked.Add(1); !strings.Contains(c.has, key) {
			w.WriteHeader(http.StatusNotFound)
		}
		return
	}
	q := r.URL.Query()
	from, _ := strconv.ParseInt(q.Get("offset"), 10, 64)
	if r.URL.Path != wire.PathVolumeNeedles || q.Get("verify") != "true" || from > 0 && (q.Get("generation") != "5" || c.revised) {
		writeError(w, http.StatusConflict, "another revision")
		return
	}
	page := wire.NeedlePage{Generation: "5"}
	for _, n := range c.needles {
		if n.Offset < from {
			continue
		}
		if len(page.Needles) == 2 {
			page.Next = page.Needles[1].Offset + 8
			break
		}
		page.Needles = append(page.Needles, n)
	}
	_ = json.NewEncoder(w).Encode(page)
}

// needlesOf lists needles of the given keys, each at its key times 100.
func needlesOf(keys ...uint64) (needles []wire.LiveNeedle) {
	for _, key := range keys {
		needles = append(needles, wire.LiveNeedle{Key: key, Cookie: 1, Offset: int64(key) * 100, Size: 10})
	}
	return needles
}

func TestFsck(t *testing.T) {
	damaged := needlesOf(1, 2, 3, 4, 5)
	damaged[2].Damage = "it is damaged"
	for _, c := range []struct {
		name   string
		copies []*listedCopy
		want   []string // fid, ordinal of the server, part of the reason
		errors []string
	}{
		{"all the same", []*listedCopy{{needles: needlesOf(1, 2, 3, 4, 5)}, {needles: needlesOf(1, 2, 3, 4, 5)}}, nil, nil},
		{"empty", []*listedCopy{{}, {}}, nil, nil},
		{"damaged", []*listedCopy{{needles: needlesOf(1, 2, 3, 4, 5)}, {needles: damaged}}, []string{"3,0300000001 1 it is damaged"}, nil},
		{"one is missing", []*listedCopy{{needles: needlesOf(1, 2, 3), has: "02"}, {needles: needlesOf(1, 3)}},
			[]string{"3,0200000001 1 it is not there, though other copies have it: 404 Not Found"}, nil},
		{"the primary lacks some", []*listedCopy{{needles: needlesOf(1)}, {needles: needlesOf(1, 2, 3), has: "02 03"}},
			[]string{"3,0200000001 0 it is not there", "3,0300000001 0 it is not there"}, nil},
		{"deleted meanwhile", []*listedCopy{{needles: needlesOf(1, 2, 3, 4)}, {needles: needlesOf(2, 3)}}, nil, nil},
		{"written meanwhile", []*listedCopy{{needles: needlesOf(1, 2), has: "02"}, {needles: needlesOf(1), has: "02"}}, nil, nil},
		{"compacted meanwhile", []*listedCopy{{needles: needlesOf(1, 2, 3, 4)}, {needles: needlesOf(1, 2, 3, 4), revised: true}}, nil,
			[]string{"", ErrCompacted.Error()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Volume{ID: 3}
			var servers []string
			for _, copied := range c.copies {
				servers = append(servers, serve(t, copied.ServeHTTP))
				v.Copies = append(v.Copies, VolumeCopy{Server: servers[len(servers)-1]})
			}
			v.Copies = append(v.Copies, VolumeCopy{Server: "127.0.0.1:1", Stray: true})
			cl, _ := newTestClient(t, Config{RetryWait: -1})
			got, err := cl.FsckVolume(t.Context(), &v)
			if err != nil || got.Count != len(c.want) || len(got.Problems) != len(c.want) || got.Good() != (len(c.want)+len(c.errors) == 0) {
				t.Fatalf("%v, %+v", err, got)
			}
			for i, p := range got.Problems {
				text := p.FID + " " + strconv.Itoa(slices.Index(servers, p.Server)) + " " + p.Reason
				if !strings.HasPrefix(text, c.want[i]) {
					t.Errorf("%s, want %s", text, c.want[i])
				}
			}
			for i, at := range got.Copies {
				if c.errors != nil && at.Error != c.errors[i] || c.errors == nil && (at.Error != "" || at.Blobs != int64(len(c.copies[i].needles)) || at.Bytes != 10*at.Blobs) {
					t.Errorf("%+v", at)
				}
			}
		})
	}
}

func TestListNeedlesEnds(t *testing.T) {
	copied := &listedCopy{needles: needlesOf(1, 2, 3, 4, 5, 6, 7)}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "verify=false", "verify=true", 1)
		copied.ServeHTTP(w, r)
	})
	c, _ := newTestClient(t, Config{RetryWait: -1})
	var fids []string
	enough := errors.New("enough")
	err := c.ListNeedles(t.Context(), server, 3, ListOptions{Pair: "A"}, func(n *Needle) error {
		if fids = append(fids, n.FID); len(fids) == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || fids[0] != "3,0100000001" || fids[4] != "3,0500000001" {
		t.Errorf("%v, %v", err, fids)
	}
	if err := c.ListNeedles(t.Context(), "127.0.0.1:1", 3, ListOptions{}, nil); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
