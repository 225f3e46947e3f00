//go:build !linux

package cassandratest

import "syscall"

// dieWithParent has no means here: a server outlives tests that are killed.
func dieWithParent() *syscall.SysProcAttr { return nil }

// lock has no means here: test binaries that start for the first time should do so one by one.
func lock(string) (unlock func(), err error) { return func() {}, nil }
