//go:build !linux

package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

var errLinux = fmt.Errorf("the benchmark needs Linux: %w", errors.ErrUnsupported)

// A Command is a process to start.
type Command struct {
	Path string
	Args []string
	Env  []string
	CPU  int
	Nice int
	Log  *os.File
	Out  io.Writer
}

// A Process is never started here.
type Process struct{ Started time.Time }

// Start fails: it needs Linux.
func Start(context.Context, Command) (*Process, error) { return nil, errLinux }

// PIDs is empty.
func (*Process) PIDs() []int { return nil }

// Ended is nil.
func (*Process) Ended() <-chan struct{} { return nil }

// Wait fails: it needs Linux.
func (*Process) Wait() error { return errLinux }

// Stop does nothing.
func (*Process) Stop() {}

// CPU is zero.
func CPU([]int) time.Duration { return 0 }

// UserSystem is zero.
func UserSystem([]int) (user, system time.Duration) { return 0, 0 }

// Memory is zero.
func Memory([]int) (rss, pss int64) { return 0, 0 }

// Switches is zero.
func Switches([]int) int64 { return 0 }

// Favour does nothing.
func Favour([]int) {}

// CPUs fails: it needs Linux.
func CPUs() ([]int, error) { return nil, errLinux }

// PinSelf fails: it needs Linux.
func PinSelf(int) error { return errLinux }

// RaiseFiles fails: it needs Linux.
func RaiseFiles() (int, error) { return 0, errLinux }
