package volume

import (
	"testing"

	"github.com/valyala/fasthttp"
)

func TestPairsOf(t *testing.T) {
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{nil, ""},
		{[]string{"Seaweed-", "x"}, ""},
		{[]string{"Seaweed-Filer", "00ff"}, `{"Filer":"00ff"}`},
		{[]string{"Seaweed-Filer", ""}, `{"Filer":""}`},
		{[]string{"Accept", "a", "Seaweed-A", "1", "Seaweed-A", "2"}, `{"A":"1"}`},
		{[]string{"Seaweed-B", "1", "Seaweed-A", "2"}, `{"A":"2","B":"1"}`},
		{[]string{"Seaweed-Quote", `a"b<c`}, `{"Quote":"a\"b\u003cc"}`},
		{[]string{"Seaweed-Far", "日"}, `{"Far":"日"}`},
	} {
		var h fasthttp.RequestHeader
		for i := 0; i < len(c.fields); i += 2 {
			h.Add(c.fields[i], c.fields[i+1])
		}
		if got, err := pairsOf(&h); string(got) != c.want || err != nil {
			t.Errorf("%q: %s, %v, want %s", c.fields, got, err, c.want)
		}
	}
}
