//go:build race

package storage

// faultStride: the race detector slows everything down, and every operation fails without it, too.
const faultStride = 7
