package export

import (
	"errors"
	"fmt"
	"hash/maphash"
	"path"
	"strings"
	"text/template"
	"unicode/utf8"

	"weed/internal/blob"
)

// DefaultFormat puts blobs into a directory for each media type.
const DefaultFormat = "{{.Mime}}/{{.Id}}_{{.Name}}"

// NameFields is what a format may use.
type NameFields struct {
	Name string   // file name as stored, with its extension; slashes are underscores
	Id   blob.Key // formats of this family spell it so; it prints in decimal
	Mime string   // media type as stored
	Key  string   // the fid, "3,01637037d6"
	Ext  string   // what follows the last dot of Name, with the dot
}

// ErrFormat is the kind of errors about formats.
var ErrFormat = errors.New("malformed format")

// Names gives out the names of blobs in one archive. It is not to be used concurrently.
type Names struct {
	format *template.Template
	text   strings.Builder
	seed   maphash.Seed
	given  map[uint64]struct{} // hashes of names; nil if the format itself keeps them apart
}

// ParseNames reads a format. Errors are ErrFormat.
func ParseNames(format string) (*Names, error) {
	parsed, err := template.New("name").Option("missingkey=error").Parse(format)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrFormat, format, err)
	}
	n := &Names{format: parsed, seed: maphash.MakeSeed()}
	if _, err := n.render(&Blob{FID: blob.FileID{Volume: 1, Key: 1, Cookie: 1}, Name: "a.b", Mime: "c/d"}); err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrFormat, format, err)
	}
	if format != DefaultFormat { // of which the last element begins with the id
		n.given = map[uint64]struct{}{}
	}
	return n, nil
}

func (n *Names) render(b *Blob) (string, error) {
	n.text.Reset()
	name := strings.ReplaceAll(b.Name, "/", "_")
	err := n.format.Execute(&n.text, NameFields{Name: name, Id: b.FID.Key, Mime: b.Mime, Key: b.FID.String(), Ext: path.Ext(name)})
	return n.text.String(), err
}

// Of returns the name of a blob.
func (n *Names) Of(b *Blob) (string, error) {
	text, err := n.render(b)
	if err != nil {
		return "", fmt.Errorf("name of %s: %w", b.FID, err)
	}
	ext := ""
	if b.Gzipped && path.Ext(text) != ".gz" {
		ext = ".gz"
	}
	name := safe(text, ext)
	if name == "" {
		name = safe(b.FID.String(), ext)
	}
	for i := 0; n.given != nil; i++ {
		hash := maphash.String(n.seed, name)
		if _, taken := n.given[hash]; !taken {
			n.given[hash] = struct{}{}
			break
		}
		name = safe(path.Join(path.Dir(name), b.FID.String()+strings.Repeat("_", i)+"_"+path.Base(name)), "")
	}
	return name, nil
}

// maxElementBytes is the limit of nearly every file system.
const maxElementBytes = 255

// safe makes a relative path of a text and an extension, "" if nothing of it can be used.
func safe(text, ext string) string {
	var elements []string
	for element := range strings.SplitSeq(text, "/") {
		switch element = clean(element); element {
		case "", ".":
		case "..":
			elements = append(elements, "__")
		default:
			elements = append(elements, element)
		}
	}
	if len(elements) == 0 {
		return ""
	}
	last := &elements[len(elements)-1]
	*last += ext
	for i, element := range elements {
		elements[i] = shorten(element)
	}
	return strings.Join(elements, "/")
}

// clean replaces what file systems, terminals or other programs can't take in a name.
func clean(element string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError {
			return '_'
		}
		return r
	}, element)
}

// shorten keeps a name within the limit, and its extension if that is not the most of it.
func shorten(element string) string {
	if len(element) <= maxElementBytes {
		return element
	}
	ext := path.Ext(element)
	if len(ext) > maxElementBytes/4 {
		ext = ""
	}
	end := maxElementBytes - len(ext)
	for end > 0 && !utf8.RuneStart(element[end]) {
		end--
	}
	return element[:end] + ext
}
