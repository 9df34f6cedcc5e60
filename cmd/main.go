// Package cmd is the command line of the gateway, as a library: a company that
// builds a gateway with policies of its own needs a main of ten lines.
//
//	package main
//
//	import (
//		"os"
//
//		_ "github.com/airside-gateway/airside/all"
//		"github.com/airside-gateway/airside/cmd"
//		_ "gateways.clinic.example/policy/consent"
//	)
//
//	func main() { os.Exit(cmd.Main()) }
//
// Exit codes: 0 done, 1 failed, 2 bad usage or a configuration that is not valid.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/airside-gateway/airside/internal/config"
)

// Main runs the command line of the process and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{
		Args: os.Args[1:], Out: os.Stdout, Err: os.Stderr, Stop: stop,
		Terminal: isTerminal(os.Stderr), Colour: isTerminal(os.Stderr) && os.Getenv("NO_COLOR") == "",
		ColourOut: isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	return p.main(ctx)
}

// A program is the command line as a type, so that tests run the real thing.
type program struct {
	Args      []string
	Out       io.Writer // what was asked for
	Err       io.Writer // messages and the log
	Terminal  bool      // Err is a terminal
	Colour    bool      // Err is a terminal, and colour is welcome
	ColourOut bool      // Out is a terminal, and colour is welcome
	Stop      func()    // gives signals back to the system: a second one ends the program at once
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is an error for which exitUsage is the code.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// errSilent is an error about which everything has been said.
var errSilent = errors.New("said")

// main runs the command line and returns the exit code.
func (p *program) main(ctx context.Context) int {
	root := p.root()
	root.SetArgs(p.Args)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		fmt.Fprintln(p.Err, problems)
		return exitUsage
	}
	if !errors.Is(err, errSilent) {
		fmt.Fprintf(p.Err, "airside: %v\n", err)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// isTerminal reports whether f is a terminal: a character device that is not null.
func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(st, null)
}
