// Command mock is the agent behind the proxies of the benchmark: just enough
// HTTP/1.1 to be cheap, so that the proxy is what is measured. Query parameters
// steer the answer:
//
//	size=N    JSON of about N bytes (default 1024)
//	delay=D   wait D, a Go duration, before answering
//
// A path that ends in /sse answers with an event stream, chunked, each event one
// chunk and one write:
//
//	n=N       events (default 100)
//	size=N    bytes of an event (default 1024)
//	gap=D     pause between events (default none)
//	hold=D    how long the stream stays open after the events
//
// It ends on SIGINT and SIGTERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/airside-gateway/airside/bench/internal/wire"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "loopback address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mock:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, addr string) error {
	if err := wire.Loopback(addr); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return serve(ctx, ln)
}

// serve answers on ln until ctx ends, and waits for every connection.
func serve(ctx context.Context, ln net.Listener) error {
	a := newAgent()
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the connections, before they are waited for
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		c, err := ln.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE):
			return fmt.Errorf("the limit of open files is too low: %w", err)
		case err != nil:
			return err
		}
		conns.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer func() { _ = c.Close() }()
			a.talk(ctx, c)
		})
	}
}
