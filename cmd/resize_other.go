//go:build !unix

package cmd

import "os"

// notifyResize does nothing: the size is read for every frame.
func notifyResize(chan<- os.Signal) {}
