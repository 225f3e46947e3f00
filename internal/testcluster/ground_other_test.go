//go:build !linux

package testcluster_test

import (
	"testing"

	"weed/internal/testcluster"
)

func newGround(t *testing.T) *ground {
	t.Helper()
	return &ground{place: func() testcluster.Place { return testcluster.FreePlace(t) }}
}
