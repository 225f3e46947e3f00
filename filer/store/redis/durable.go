package redis

import (
	"context"
	"fmt"
)

// wanted are the settings with which the server keeps what it has acknowledged, and what others lose.
var wanted = []struct{ name, value, loss string }{
	{"appendonly", "yes", "a crash takes away what was acknowledged since the last snapshot, and leaves chunks that nothing refers to"},
	{"appendfsync", "always", "a power cut takes away what was acknowledged in the last second or more, and leaves chunks that nothing refers to"},
	{"maxmemory-policy", "noeviction", "files are forgotten when the memory is full"},
}

// Warnings tells what may be lost with the server as it is set up, a sentence each, and what would be right.
func (s *Store) Warnings(ctx context.Context) (list []string) {
	end, err := s.begin(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	defer end()
	for _, w := range wanted {
		got, err := s.client.ConfigGet(ctx, w.name).Result()
		switch {
		case err != nil:
			return append(list, fmt.Sprintf("Redis does not tell how it is set up (%v): make sure that appendonly is yes, "+
				"appendfsync always and maxmemory-policy noeviction, or what was acknowledged may be lost", err))
		case w.name == "appendfsync" && len(list) > 0: // has no effect
		case got[w.name] != w.value:
			list = append(list, fmt.Sprintf("Redis is set up with %s %q: %s. Set %s to %s", w.name, got[w.name], w.loss, w.name, w.value))
		}
	}
	return list
}
