package filer

import (
	"testing"
)

// A directory has no entity tag: whoever names one means something else than what is there.
func TestConditionsOfDirectories(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/d/f", "x")
	for _, fields := range [][]string{{"If-Match", `"x"`}, {"If-Match", `""`}, {"If-None-Match", "*"},
		{"If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT"}} {
		x.want(412, "DELETE", "/d?recursive=true", "", fields...)
	}
	x.want(200, "GET", "/d/f", "")
	x.want(202, "DELETE", "/d?recursive=true", "", "If-Match", "*")
	x.want(404, "GET", "/d/f", "")
	x.want(412, "DELETE", "/d", "", "If-Match", "*")
}

// A query that can't be read changes nothing: the deletion of a tag must not become that of the file.
func TestQueriesThatDoNotRead(t *testing.T) {
	x := start(t)
	x.want(201, "PUT", "/f", "x", "Seaweed-Done", "100%")
	x.want(201, "PUT", "/g", "y")
	for _, query := range []string{"tagging=100%", "tagging;Done", "tagging=Done;Other", "%zz"} {
		x.want(400, "DELETE", "/f?"+query, "")
	}
	x.want(400, "POST", "/f?mv.from=/g%", "")
	x.want(400, "PUT", "/f?tagging=%", "", "Seaweed-A", "b")
	if got := x.want(200, "GET", "/f", ""); got.body != "x" || got.header.Get("Seaweed-Done") != "100%" {
		t.Errorf("the file has become %q, %v", got.body, got.header)
	}
}
