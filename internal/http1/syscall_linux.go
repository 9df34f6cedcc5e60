//go:build !race

package http1

import (
	"syscall"
	"unsafe"
)

// The calls do not tell the scheduler, since they never wait. That P would be taken
// away from this goroutine costs more than the call.

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p))) //nolint:gosec // lives through the call, which is rule 4 of unsafe.Pointer
	return int(n), e
}

func sysWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p))) //nolint:gosec // lives through the call, which is rule 4 of unsafe.Pointer
	return int(n), e
}

func sysWritev(fd uintptr, a, b []byte) (int, syscall.Errno) {
	v := [2]syscall.Iovec{{Base: &a[0]}, {Base: &b[0]}}
	v[0].SetLen(len(a))
	v[1].SetLen(len(b))
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&v[0])), 2) //nolint:gosec // lives through the call, which is rule 4 of unsafe.Pointer
	return int(n), e
}
