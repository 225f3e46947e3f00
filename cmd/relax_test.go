package cmd

import (
	"strings"
	"testing"
)

func TestIsServer(t *testing.T) {
	for line, want := range map[string]bool{
		"master": true, "-v=2 volume -port=8080": true, "server": true, "filer -h": true,
		"": false, "upload volume": false, "help master": false, "-h": false, "shell": false,
	} {
		if isServer(strings.Fields(line)) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}
