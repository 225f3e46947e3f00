package raftstore

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"
)

const resolveTimeout = 2 * time.Second

// lookupFunc is net.Resolver.LookupHost.
type lookupFunc func(ctx context.Context, host string) ([]string, error)

// memberList turns a peers flag into the ids of the cluster's members, sorted, this server's own among
// them. All servers must come to the same list from the same flag, so an entry that means this server
// becomes its id, and names become addresses when ids are addresses. A name that cannot be resolved
// stays as it is.
func memberList(ctx context.Context, id string, peers []string, lookup lookupFunc) []string {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	own := endpoint(ctx, id, lookup)
	ownHost, _, _ := net.SplitHostPort(id)
	numeric := net.ParseIP(ownHost) != nil
	list := []string{id}
	for _, peer := range peers {
		addresses := endpoint(ctx, peer, lookup)
		switch {
		case slices.ContainsFunc(addresses, func(a string) bool { return slices.Contains(own, a) }):
			continue
		case numeric:
			list = append(list, addresses[0])
		default:
			list = append(list, strings.ToLower(peer))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// endpoint returns the numeric forms of host:port, IPv4 first, at least one entry.
func endpoint(ctx context.Context, address string, lookup lookupFunc) []string {
	host, port, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil {
		return []string{net.JoinHostPort(ip.String(), port)}
	}
	ips, err := lookup(ctx, host)
	if err != nil || len(ips) == 0 {
		return []string{strings.ToLower(address)}
	}
	slices.SortFunc(ips, func(a, b string) int {
		if v6a, v6b := strings.Contains(a, ":"), strings.Contains(b, ":"); v6a != v6b {
			if v6a {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
	for i, ip := range ips {
		ips[i] = net.JoinHostPort(ip, port)
	}
	return ips
}
