//go:build !linux

package h1

import (
	"errors"
	"net"
)

// A Watcher does not exist on this system: that a client has left shows when it is
// written to.
type Watcher struct{}

// NewWatcher fails.
func NewWatcher() (*Watcher, error) {
	return nil, errors.New("h1: connections cannot be watched on this system")
}

// Close does nothing.
func (*Watcher) Close() error { return nil }

// Add says that c cannot be watched.
func (*Watcher) Add(net.Conn, func(bool)) (id int32, ok bool) { return 0, false }

// Remove does nothing.
func (*Watcher) Remove(int32) {}
