package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A Socket is a connection that, where it is plain TCP on Linux, can be driven from
// inside [Socket.Drive]: there a read that finds nothing waits for the poller at once,
// without the read before that only says so, and a write costs one system call and
// nothing else. All else behaves as [net.Conn] does.
//
// A Socket belongs to the goroutine that drives it. While it is being driven, others may
// set deadlines, and may close it: that ends a wait with [net.ErrClosed]. While step is
// running, Close returns when step has; so step must not wait for who closes, and must
// not close the socket itself. What others write would be torn apart by what step writes.
type Socket struct {
	net.Conn
	raw    syscall.RawConn // nil: cannot be driven
	fd     uintptr
	driven bool // we are inside of Drive: the descriptor cannot be closed
}

// NewSocket returns a socket for c.
func NewSocket(c net.Conn) *Socket {
	s := &Socket{Conn: c}
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil && raw.Control(func(fd uintptr) { s.fd = fd }) == nil {
			s.raw = raw
		}
	}
	return s
}

// CanDrive reports whether [Socket.Drive] works.
func (s *Socket) CanDrive() bool { return s.raw != nil }

// Drive calls step until it returns true, each further time when there may be
// something to read: bytes, the end, or an error. Between the calls it waits, within
// the read deadline; the error is that of the wait. Inside of step only Try, Write and
// Writev may be used to read and write.
//
// Bytes are never missed if the first call of step tries, and each goes on until a Try
// finds nothing or does not fill its room. The end is not missed if it goes on until a
// Try finds nothing: an end that came together with the last bytes wakes nobody again.
func (s *Socket) Drive(step func() bool) error { return s.DriveFunc(s.Step(step)) }

// DriveFunc is Drive with a function that was made for it beforehand, so that nothing
// is allocated: see [Socket.Step].
func (s *Socket) DriveFunc(f func(uintptr) bool) error {
	if s.raw == nil {
		return errNotDriven
	}
	return s.raw.Read(f)
}

var errNotDriven = errors.New("http1: the socket cannot be driven")

// Step makes a function for [Socket.DriveFunc].
func (s *Socket) Step(step func() bool) func(uintptr) bool {
	return func(uintptr) bool {
		s.driven = true
		defer s.leave() // also if step panics: the descriptor may be another's soon
		return step()
	}
}

func (s *Socket) leave() { s.driven = false }

// Try reads what is there, without waiting. With again there is nothing, and no error.
// The end of the stream is [io.EOF]. It works inside of Drive only. Without room in p
// the error is [io.ErrShortBuffer].
func (s *Socket) Try(p []byte) (n int, again bool, err error) {
	switch {
	case !s.driven:
		return 0, false, errNotDriven
	case len(p) == 0:
		return 0, false, io.ErrShortBuffer
	}
	for {
		n, e := sysRead(s.fd, p)
		switch e {
		case 0:
			if n == 0 {
				return 0, false, io.EOF
			}
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("read", e)
		}
	}
}

// Write writes all of p, within the write deadline; what the system takes at once is
// written even if that has passed.
func (s *Socket) Write(p []byte) (int, error) {
	if !s.driven || len(p) == 0 {
		return s.Conn.Write(p)
	}
	n, err := s.attempt(p)
	if err != nil || n == len(p) {
		return n, err
	}
	m, err := s.Conn.Write(p[n:])
	return n + m, err
}

// attempt writes what fits without waiting.
func (s *Socket) attempt(p []byte) (int, error) {
	for {
		n, e := sysWrite(s.fd, p)
		switch e {
		case 0:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("write", e)
		}
	}
}

// Writev writes a and then b, in one system call where that can be.
func (s *Socket) Writev(a, b []byte) (int, error) {
	switch {
	case len(b) == 0:
		return s.Write(a)
	case len(a) == 0:
		return s.Write(b)
	case !s.driven:
		v := net.Buffers{a, b}
		n, err := v.WriteTo(s.Conn)
		return int(n), err
	}
	n, err := s.gather(a, b)
	if err != nil || n == len(a)+len(b) {
		return n, err
	}
	if n < len(a) {
		v := net.Buffers{a[n:], b}
		m, err := v.WriteTo(s.Conn)
		return n + int(m), err
	}
	m, err := s.Conn.Write(b[n-len(a):])
	return n + m, err
}

func (s *Socket) gather(a, b []byte) (int, error) {
	for {
		n, e := sysWritev(s.fd, a, b)
		switch e {
		case 0:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("writev", e)
		}
	}
}
