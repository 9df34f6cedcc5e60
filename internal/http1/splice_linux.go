package http1

import (
	"errors"
	"io"
	"os"
	"runtime"
	"syscall"
)

// A Pipe holds bytes on their way from one socket to another that never come into the
// memory of the program (splice(2)). It belongs to one goroutine.
type Pipe struct {
	ends    [2]int // read, write
	n       int
	forsake runtime.Cleanup // closes it if nobody has
}

// pipeSize is what a Pipe is asked to hold. The system may give it less.
const pipeSize = 256 << 10

// fSetPipeSize is F_SETPIPE_SZ of fcntl(2).
const fSetPipeSize = 1031

// OpenPipe returns an empty pipe, to be closed; nil if the system has none to give.
func OpenPipe() *Pipe {
	p := new(Pipe)
	if err := syscall.Pipe2(p.ends[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil
	}
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(p.ends[1]), fSetPipeSize, pipeSize) // if not, it holds 64 KiB, which will do
	p.forsake = runtime.AddCleanup(p, closeEnds, p.ends)
	return p
}

// Close closes p, once, and what it holds is lost.
func (p *Pipe) Close() {
	p.forsake.Stop()
	closeEnds(p.ends)
}

func closeEnds(ends [2]int) {
	_ = syscall.Close(ends[0])
	_ = syscall.Close(ends[1])
}

// Len is how many bytes p holds.
func (p *Pipe) Len() int { return p.n }

// flags of splice(2): move pages, and do not wait for the pipe. Sockets do not wait
// anyway.
const spliceFlags = 1 | 2

// SpliceIn takes at most limit bytes into p, which must be empty, without waiting. It
// works inside of Drive only; the results are those of [Socket.Try].
func (s *Socket) SpliceIn(p *Pipe, limit int) (n int, again bool, err error) {
	if !s.driven {
		return 0, false, errNotDriven
	}
	for {
		n, err := syscall.Splice(int(s.fd), nil, p.ends[1], nil, limit, spliceFlags)
		switch {
		case err == nil && n == 0:
			return 0, false, io.EOF
		case err == nil:
			p.n += int(n)
			return int(n), false, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, true, nil
		default:
			return 0, false, os.NewSyscallError("splice", err)
		}
	}
}

// SpliceOut sends all that p holds, within the write deadline.
func (s *Socket) SpliceOut(p *Pipe) error {
	if s.raw == nil {
		return errNotDriven
	}
	if s.driven { // without waiting, if it can be
		if done, err := p.send(s.fd); done || err != nil {
			return err
		}
	}
	var err error
	if werr := s.raw.Write(func(fd uintptr) (done bool) {
		done, err = p.send(fd)
		return done || err != nil
	}); werr != nil {
		return werr
	}
	return err
}

// send sends what fd takes, and reports whether p is empty now.
func (p *Pipe) send(fd uintptr) (done bool, err error) {
	for p.n > 0 {
		n, err := syscall.Splice(p.ends[0], nil, int(fd), nil, p.n, spliceFlags)
		switch {
		case err == nil && n == 0:
			return false, io.ErrUnexpectedEOF
		case err == nil:
			p.n -= int(n)
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return false, nil
		default:
			return false, os.NewSyscallError("splice", err)
		}
	}
	return true, nil
}
