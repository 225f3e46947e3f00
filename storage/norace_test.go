//go:build !race

package storage

// faultStride is the step from one operation that is failed to the next.
const faultStride = 1
