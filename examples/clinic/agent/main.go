// Command agent runs one agent of the sample clinic by itself:
//
//	go run ./examples/clinic/agent records -addr 127.0.0.1:9001
//	go run ./examples/clinic/agent symptoms -addr 127.0.0.1:9002
//	go run ./examples/clinic/agent treatment -addr 127.0.0.1:9003
//
// It ends in good order on SIGINT or SIGTERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/airside-gateway/airside/examples/clinic"
)

const usage = "usage: agent records|symptoms|treatment [-addr 127.0.0.1:9001]"

// errUsage is a command line that cannot be understood.
var errUsage = errors.New(usage)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	agent, err := clinic.AgentNamed(args[0])
	if err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	flags := flag.NewFlagSet("agent "+agent.Name, flag.ContinueOnError)
	flags.SetOutput(out)
	addr := flags.String("addr", "127.0.0.1:9001", "address to listen on")
	err = flags.Parse(args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if err != nil || flags.NArg() > 0 {
		return errUsage
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s listens on http://%s\n", agent.Name, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	return agent.Serve(ctx, ln)
}
