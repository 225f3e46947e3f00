package testcluster_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/cassandra-gocql-driver/v2"
	"github.com/redis/go-redis/v9"

	"weed/internal/testcluster"
)

// redisLeft counts the keys that a tree without files and directories does not have.
func redisLeft(t *testing.T, addr, password string) (map[string]int, error) {
	client := redis.NewClient(&redis.Options{Addr: addr, Password: password, DisableIdentity: true})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), testcluster.Patience)
	defer cancel()
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	left := make(map[string]int)
	for _, key := range keys {
		switch name := strings.TrimPrefix(key, "weed:"); {
		case slices.Contains([]string{"format", "seq", "dropseq", "moves", "settings"}, name): // always there
		case name == "claims" || strings.HasPrefix(name, "used:"):
			left["claims"]++
		default:
			left[key]++
		}
	}
	return left, nil
}

// cassandraLeft counts the rows that a tree without files and directories does not have.
func cassandraLeft(t *testing.T, addr string) (map[string]int, error) {
	host, port, _ := strings.Cut(addr, ":")
	cluster := gocql.NewCluster(host)
	cluster.Port, _ = strconv.Atoi(port)
	cluster.Keyspace, cluster.Timeout, cluster.ConnectTimeout = "seaweed", testcluster.Patience, testcluster.Patience
	session, err := cluster.CreateSession()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	left := make(map[string]int)
	for what, query := range map[string]string{
		"records": "SELECT count(*) FROM parts WHERE kind = 0 ALLOW FILTERING",
		"drops":   "SELECT count(*) FROM parts WHERE kind = 1 ALLOW FILTERING",
		"trash":   "SELECT count(*) FROM trash",
		"claims":  "SELECT count(*) FROM claims",
	} {
		n := 0
		if err := session.Query(query).ScanContext(ctx, &n); err != nil {
			return nil, err
		}
		if n > 0 {
			left[what] = n
		}
	}
	return left, nil
}
