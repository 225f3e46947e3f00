package volume

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"weed/internal/wire"
	"weed/storage"
)

func TestNeedles(t *testing.T) {
	dir := t.TempDir()
	n := start(t, func(c *Config) {
		c.Dirs, c.ScrubBytesPerSecond = []storage.Directory{{Path: dir, MaxVolumes: 7}}, 1<<30
	})
	n.upload("/3,01637037d6?ts=1700000000", "a.txt", "first", "Content-Type", "text/plain").want(201)
	n.put("/3,02637037d6", noise(200<<10, 1))
	n.put("/3,03637037d6?ttl=3d", "third")
	n.put("/3,04637037d6", "gone")
	n.do("DELETE", "/3,04637037d6", "").want(202)
	list := func(query string) (page wire.NeedlePage) {
		t.Helper()
		n.get(wire.PathVolumeNeedles + "?volumeId=3" + query).want(200).json(&page)
		return page
	}
	for _, verify := range []string{"", "&verify=true"} {
		page := list(verify)
		if len(page.Needles) != 3 || page.Next != 0 || page.Generation != "0" || page.End != n.store.Volumes()[0].SizeBytes {
			t.Fatalf("%+v", page)
		}
		a, c := page.Needles[0], page.Needles[2]
		if a.Key != 1 || a.Cookie != 0x637037d6 || string(a.Name) != "a.txt" || string(a.Mime) != "text/plain" || a.Modified != 1700000000 ||
			a.Size != 5 || a.Offset != 8 || page.Needles[1].Size != 200<<10 || c.TTL != "3d" {
			t.Errorf("%+v", page.Needles)
		}
	}
	n.put("/3,05637037d6", "tagged", "Seaweed-Filer", "f1")
	if page := list("&pair=Filer"); page.Needles[0].Pair != "" || page.Needles[3].Pair != "f1" || page.Needles[0].AppendedAt == 0 ||
		page.Needles[3].AppendedAt < page.Needles[0].AppendedAt || list("").Needles[3].Pair != "" {
		t.Errorf("%+v", page)
	}
	n.do("DELETE", "/3,05637037d6", "").want(202)
	second := list("").Needles[1].Offset
	if page := list(fmt.Sprintf("&offset=%d&generation=0", second)); len(page.Needles) != 2 || page.Needles[0].Key != 2 {
		t.Errorf("%+v", page)
	}
	n.get(wire.PathVolumeNeedles + "?volumeId=3&offset=8&generation=1").want(http.StatusConflict)
	n.get(wire.PathVolumeNeedles + "?volumeId=3&offset=-1&generation=0").want(400)
	n.get(wire.PathVolumeNeedles + "?volumeId=x").want(400)
	n.get(wire.PathVolumeNeedles + "?volumeId=9").want(404)

	dat, err := os.OpenFile(filepath.Join(dir, "3.dat"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dat.Close()
	if _, err := dat.WriteAt([]byte{1, 2, 3}, second+5000); err != nil {
		t.Fatal(err)
	}
	for i, needle := range list("&verify=true").Needles {
		if (needle.Damage != "") != (i == 1) {
			t.Errorf("%+v", needle)
		}
	}
}
