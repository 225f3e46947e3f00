package filer

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
)

const (
	tagPrefix   = "Seaweed-" // header fields that are kept with a file
	maxTagBytes = 32 << 10   // of all tags of an entry
)

// tagsOf gathers the Seaweed-* fields of a request's head.
func tagsOf(h http.Header) (map[string]string, error) {
	var tags map[string]string
	size := 0
	for name, values := range h {
		if len(name) <= len(tagPrefix) || !strings.HasPrefix(name, tagPrefix) {
			continue
		}
		if tags == nil {
			tags = make(map[string]string)
		}
		tags[name] = values[0]
		if size += len(name) + len(values[0]); size > maxTagBytes {
			return nil, fmt.Errorf("%w: more than %d bytes of %s* fields", errParameter, maxTagBytes, tagPrefix)
		}
	}
	return tags, nil
}

// checkTags refuses more than an answer's head can carry.
func checkTags(tags map[string]string) error {
	size := 0
	for k, v := range tags {
		size += len(k) + len(v)
	}
	if size > maxTagBytes {
		return fmt.Errorf("%w: more than %d bytes of tags", errParameter, maxTagBytes)
	}
	return nil
}

func merge(tags, more map[string]string) map[string]string {
	if len(more) == 0 {
		return tags
	}
	all := make(map[string]string, len(tags)+len(more))
	maps.Copy(all, tags)
	maps.Copy(all, more)
	return all
}
