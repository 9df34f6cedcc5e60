package edge

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// refuseHandshakes makes the kernel drop what asks a listening socket for a new
// connection, a SYN without ACK, while handshakes under way go on: so its queue of
// completed connections can be emptied before it is closed. Closing a queue that is
// not empty resets connections whose clients have sent their request already. Who is
// dropped asks again after a second, and is refused then, or heard by who has the
// address by then. It reports false where the kernel does not let us.
func refuseHandshakes(ln *net.TCPListener) bool {
	const flags, syn, ack = 13, 0x02, 0x10 // RFC 9293 section 3.1
	program := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	done := false
	control(ln, func(fd int) {
		done = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}) == nil
	})
	return done
}

// waiting reports whether the kernel holds something for a socket: a connection to
// accept, bytes to read, or the end of the other side.
func waiting(c syscall.Conn) bool {
	var n int
	control(c, func(fd int) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor is a small number
		for {
			var err error
			if n, err = unix.Poll(p, 0); err != unix.EINTR {
				return
			}
		}
	})
	return n > 0
}

// control calls f with the descriptor of c, unless c is closed.
func control(c syscall.Conn, f func(fd int)) {
	if rc, err := c.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) { f(int(fd)) })
	}
}
