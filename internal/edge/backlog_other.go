//go:build !linux

package edge

import (
	"net"
	"syscall"
)

// refuseHandshakes is a thing of Linux. Elsewhere a connection that comes between
// the last accept and the closing of the address is reset.
func refuseHandshakes(*net.TCPListener) bool { return false }

// waiting is not known.
func waiting(syscall.Conn) bool { return false }
