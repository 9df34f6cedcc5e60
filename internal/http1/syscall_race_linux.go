//go:build race

package http1

import (
	"errors"
	"syscall"
)

// The race detector takes what was written to a socket to have happened before what
// was read from one; the functions of package syscall tell it so.

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p) //nolint:gosec // a descriptor is small
	return n, errnoOf(err)
}

func sysWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p) //nolint:gosec // a descriptor is small
	return n, errnoOf(err)
}

// sysWritev leaves the second to another call.
func sysWritev(fd uintptr, a, _ []byte) (int, syscall.Errno) { return sysWrite(fd, a) }

func errnoOf(err error) syscall.Errno {
	e, _ := errors.AsType[syscall.Errno](err) // 0 for nil
	return e
}
