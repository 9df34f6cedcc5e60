//go:build unix

package cmd

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyResize has c told when the terminal changes its size.
func notifyResize(c chan<- os.Signal) { signal.Notify(c, syscall.SIGWINCH) }
