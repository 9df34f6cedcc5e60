//go:build !linux

package http1

import (
	"errors"
	"net"
)

// A Socket is a connection. On this system it cannot be driven.
type Socket struct{ net.Conn }

var errNotDriven = errors.New("http1: the socket cannot be driven")

// NewSocket returns a socket for c.
func NewSocket(c net.Conn) *Socket { return &Socket{Conn: c} }

// CanDrive reports whether [Socket.Drive] works: it does not.
func (*Socket) CanDrive() bool { return false }

// Drive fails.
func (*Socket) Drive(func() bool) error { return errNotDriven }

// DriveFunc fails.
func (*Socket) DriveFunc(func(uintptr) bool) error { return errNotDriven }

// Step makes a function for [Socket.DriveFunc].
func (*Socket) Step(step func() bool) func(uintptr) bool { return func(uintptr) bool { return step() } }

// Try fails.
func (*Socket) Try([]byte) (n int, again bool, err error) { return 0, false, errNotDriven }

// Writev writes a and then b, in one system call where that can be.
func (s *Socket) Writev(a, b []byte) (int, error) {
	v := net.Buffers{a, b}
	n, err := v.WriteTo(s.Conn)
	return int(n), err
}

// A Pipe is not to be had on this system.
type Pipe struct{}

// OpenPipe returns nil.
func OpenPipe() *Pipe { return nil }

// Len is 0.
func (*Pipe) Len() int { return 0 }

// Close does nothing.
func (*Pipe) Close() {}

// SpliceIn fails.
func (*Socket) SpliceIn(*Pipe, int) (n int, again bool, err error) { return 0, false, errNotDriven }

// SpliceOut fails.
func (*Socket) SpliceOut(*Pipe) error { return errNotDriven }
