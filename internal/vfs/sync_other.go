//go:build !linux

package vfs

import "golang.org/x/sys/unix"

func syncData(fd int) error { return unix.Fsync(fd) }

// uncache does nothing: not all systems take such advice.
func uncache(int, int64, int64) error { return nil }
