//go:build !linux

package testproc

import (
	"errors"
	"os"
	"syscall"
)

// dieWithParent has no means here: a process outlives tests that are killed.
func dieWithParent() *syscall.SysProcAttr { return nil }

func pause(*os.Process) error  { return errors.ErrUnsupported }
func resume(*os.Process) error { return errors.ErrUnsupported }
