package filer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"weed/filer/store"
)

const maxNameBytes = 255

// errPath says that a path cannot name anything.
var errPath = errors.New("malformed path")

// errReserved says that a path belongs to the filer itself.
var errReserved = errors.New("the path is the filer's own: choose another name")

// parsePath reads a decoded path. dir says that it ends in a slash; "/" is the root. What is not absolute, has empty
// segments, "." or "..", NUL or bytes that are no UTF-8, or is too long, is errPath.
func parsePath(text string) (path store.Path, dir bool, err error) {
	if text == "/" {
		return "/", true, nil
	}
	if text == "" || text[0] != '/' {
		return "", false, fmt.Errorf("%w: it begins with no slash", errPath)
	}
	if dir = text[len(text)-1] == '/'; dir {
		text = text[:len(text)-1]
	}
	depth := 0
	for rest := text[1:]; ; {
		name, more, found := strings.Cut(rest, "/")
		if err := checkName(name); err != nil {
			return "", false, err
		}
		if depth++; depth > store.MaxPathDepth {
			return "", false, fmt.Errorf("%w: more than %d directories deep", errPath, store.MaxPathDepth)
		}
		if !found {
			return store.Path(text), dir, nil
		}
		rest = more
	}
}

// checkName refuses what is no name of a file or directory.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: a name is empty", errPath)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q is no name", errPath, name)
	case len(name) > maxNameBytes:
		return fmt.Errorf("%w: a name is longer than %d bytes", errPath, maxNameBytes)
	case strings.IndexByte(name, 0) >= 0 || strings.IndexByte(name, '/') >= 0:
		return fmt.Errorf("%w: a name holds a slash or NUL", errPath)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: a name is not UTF-8", errPath)
	}
	return nil
}

// isReserved reports whether a path lies where the filer answers by itself.
func isReserved(path store.Path) bool {
	first, _, _ := strings.Cut(string(path[1:]), "/")
	switch first {
	case ".weed", "healthz", "readyz", "metrics":
		return true
	}
	return false
}

// baseName returns the last segment, "" of the root.
func baseName(path store.Path) string {
	return string(path[strings.LastIndexByte(string(path), '/')+1:])
}

// parent returns the directory that a path other than "/" is in.
func parent(path store.Path) store.Path {
	if i := strings.LastIndexByte(string(path), '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// join returns the path of a name in a directory.
func join(dir store.Path, name string) store.Path {
	if dir == "/" {
		return store.Path("/" + name)
	}
	return dir + "/" + store.Path(name)
}
