package cmd

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestValues(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string // what the error contains; "" for none
	}{
		{checkPort("port", 1), ""},
		{checkPort("port", 65535), ""},
		{checkPort("master.port", 0), "-master.port: 0 is not a port"},
		{checkPort("port", 65536), "-port: 65536 is not a port"},
		{checkPort("port", -1), "-port: -1 is not a port"},

		{checkHost("ip", "127.0.0.1", false), ""},
		{checkHost("ip", "::1", false), ""},
		{checkHost("ip", "store-1.example.org", false), ""},
		{checkHost("ip.bind", "0.0.0.0", true), ""},
		{checkHost("ip", "0.0.0.0", false), "-ip: 0.0.0.0 is an address to listen on"},
		{checkHost("ip", "::", false), "-ip: :: is an address to listen on"},
		{checkHost("ip", "", false), "-ip: \"\" is neither"},
		{checkHost("ip", "localhost:80", false), "-ip: \"localhost:80\" is neither"},
		{checkHost("ip", "http://x", false), "is neither"},
		{checkHost("ip", "a b", false), "is neither"},

		{checkHostPort("mserver", "localhost:9333"), ""},
		{checkHostPort("mserver", "[::1]:9333"), ""},
		{checkHostPort("mserver", "localhost"), "-mserver: \"localhost\" is not a host:port"},
		{checkHostPort("mserver", "localhost:http"), "is not a host:port"},
		{checkHostPort("mserver", "localhost:0"), "is not a host:port"},
		{checkHostPort("mserver", ":9333"), "-mserver: \"\" is neither"},
		{checkHostPort("mserver", "http://localhost:9333"), "is not a host:port"},

		{checkLabel("rack", "r-1.a"), ""},
		{checkLabel("rack", ""), "-rack: \"\" is not a name"},
		{checkLabel("dataCenter", "a,b"), "-dataCenter: \"a,b\" is not a name"},
		{checkLabel("rack", strings.Repeat("x", 129)), "is not a name"},

		{second(seconds("idleTimeout", 30)), ""},
		{second(seconds("idleTimeout", 0)), "-idleTimeout: 0 is not a number of seconds"},
		{second(seconds("idleTimeout", 86401)), "-idleTimeout: 86401"},
		{second(megabytes("fileSizeLimitMB", 256, 2047)), ""},
		{second(megabytes("fileSizeLimitMB", 2048, 2047)), "-fileSizeLimitMB: 2048 is not a size in MB from 1 to 2047"},
		{second(megabytes("fileSizeLimitMB", -1, 2047)), "-fileSizeLimitMB: -1"},
		{second(percent("minFreeSpacePercent", 0)), ""},
		{second(percent("minFreeSpacePercent", 99.9)), ""},
		{second(percent("minFreeSpacePercent", 100)), "-minFreeSpacePercent: 100 is not a percentage"},
		{second(percent("minFreeSpacePercent", -1)), "-minFreeSpacePercent: -1"},
		{second(percent("minFreeSpacePercent", math.NaN())), "NaN"},
	} {
		if err := c.err; (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v; want %q", err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestSplitList(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, ",": nil, "a": {"a"}, "a,b": {"a", "b"}, " a , b,": {"a", "b"}, "a b,c": {"a b", "c"},
	} {
		if got := splitList(text); !slices.Equal(got, want) {
			t.Errorf("splitList(%q) = %q, want %q", text, got, want)
		}
	}
}
