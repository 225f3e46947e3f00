package filer

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"weed/filer/store"
)

//go:embed listing.html
var listingHTML string

var listingPage = template.Must(template.New("listing").Parse(listingHTML))

// pageRow is a line of the page for browsers.
type pageRow struct {
	Name, Link, Size, Time string
	Dir                    bool
}

type pageLink struct{ Name, Link string }

// wantsPage reports whether a browser asks: it names HTML, and asks for no form of JSON.
func wantsPage(r *http.Request, query url.Values) bool {
	accept := r.Header.Get("Accept")
	return strings.Contains(accept, "text/html") && !strings.Contains(accept, mimeJSON) && query.Get("pretty") != "y"
}

// listPage answers with a directory as a page.
func (f *Filer) listPage(w http.ResponseWriter, r *http.Request, l listing) error {
	var page struct {
		Path  string
		Above []pageLink
		Rows  []pageRow
		More  string // link to the next page, "" for none
		First string // link to the first page, "" if this is it
	}
	page.Path = string(l.dir)
	page.Above = []pageLink{{"/", "/"}}
	if l.dir != "/" {
		var at store.Path = "/"
		for name := range strings.SplitSeq(string(l.dir[1:]), "/") {
			at = join(at, name)
			page.Above = append(page.Above, pageLink{name + "/", linkTo(at, true)})
		}
	}
	last := ""
	more, err := f.walk(r.Context(), l, func(name string, e *Entry) error {
		row := pageRow{Name: name, Link: linkTo(join(l.dir, name), e.IsDir()), Dir: e.IsDir(),
			Time: e.Mtime.UTC().Format(time.DateTime)}
		if e.IsDir() {
			row.Name += "/"
		} else {
			row.Size = sizeText(e.Size())
		}
		last = name
		page.Rows = append(page.Rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	link := func(after string) string {
		q := url.Values{"limit": {fmt.Sprint(l.limit)}}
		if after != "" {
			q.Set("lastFileName", after)
		}
		if l.pattern != "" {
			q.Set("namePattern", l.pattern)
		}
		return linkTo(l.dir, true) + "?" + q.Encode()
	}
	if more {
		page.More = link(last)
	}
	if l.after != "" {
		page.First = link("")
	}
	var out bytes.Buffer
	if err := listingPage.Execute(&out, page); err != nil {
		return fmt.Errorf("make the page of %s: %w", l.dir, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("Vary", "Accept")
	_, _ = w.Write(out.Bytes()) // a client that is gone sees nothing
	return nil
}

// linkTo returns a path with all that is special in URLs escaped.
func linkTo(path store.Path, dir bool) string {
	names := strings.Split(string(path), "/")
	for i := range names {
		names[i] = url.PathEscape(names[i])
	}
	link := strings.Join(names, "/")
	if dir && path != "/" {
		link += "/"
	}
	return link
}

// sizeText returns a number of bytes for people.
func sizeText(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %cB", v, units[i])
}
