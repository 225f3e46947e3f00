//go:build !linux

package testcluster

import "syscall"

// dieWithParent has no means here: processes end with their test.
func dieWithParent() *syscall.SysProcAttr { return nil }

func waitStopped(int) error { return nil }
