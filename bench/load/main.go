// Command load is the load generator of the benchmark. It speaks HTTP/1.1, in
// clear or over TLS, or HTTP/2 over TLS, to one loopback address, and accounts
// processor time and memory of the processes under test while it does.
//
//	-mode requests  connections that ask again and again: as fast as the answers
//	                come (closed loop), or -rate requests a second in all (open
//	                loop: latency counts from when a request was due, so that a
//	                stall is not hidden by the requests that it kept from being sent).
//	                With -m N it is HTTP/2 over TLS, N requests at a time on each
//	-mode streams   connections that each read one event stream after the other
//	-mode idle      connections that each hold one silent stream open
//
// The processor time of -pids comes from the kernel's clock of each process, to
// the nanosecond, read just before and just after the measured interval. One
// JSON object is printed.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/airside-gateway/airside/bench/internal/sample"
)

// config is what to do. See the flags.
type config struct {
	mode   string
	target string
	method string
	body   int
	ca     string
	host   string
	conns  int
	rate   float64
	warm   time.Duration
	length time.Duration
	ramp   int
	settle time.Duration
	pids   []int
	want   int64
	event  int64

	peer    peer   // of target
	request []byte // sent again and again over HTTP/1.1
	content []byte // body of each request

	multiplex    int    // HTTP/2 requests at a time on a connection; 0: HTTP/1.1
	first, later []byte // header blocks of HTTP/2
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	var s *sample.Sample
	switch c.mode {
	case "requests":
		if c.multiplex > 0 {
			s, err = c.multiplexed(ctx)
		} else {
			s, err = c.requests(ctx)
		}
	case "streams":
		s, err = c.streams(ctx)
	case "idle":
		s, err = c.idle(ctx)
	default:
		err = fmt.Errorf("there is no mode %q: requests, streams, idle", c.mode)
	}
	if err != nil {
		return err
	}
	s.Mode = c.mode
	return json.NewEncoder(out).Encode(s)
}

func parse(args []string) (*config, error) {
	c := new(config)
	var pids string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.StringVar(&c.mode, "mode", "requests", "requests, streams or idle")
	f.StringVar(&c.target, "url", "http://127.0.0.1:9000/v1/chat/completions", "loopback URL to ask for, http or https")
	f.StringVar(&c.method, "method", "POST", "method")
	f.IntVar(&c.body, "body", 1024, "bytes of each request body; 0: none")
	f.StringVar(&c.ca, "ca", "", "certificate to trust, PEM, for https")
	f.StringVar(&c.host, "host", "gateway.example", "host to ask for, in the request and in the TLS handshake")
	f.IntVar(&c.conns, "c", 64, "connections")
	f.Float64Var(&c.rate, "rate", 0, "requests a second over all connections; 0: closed loop")
	f.IntVar(&c.multiplex, "m", 0, "requests: speak HTTP/2, with so many requests at a time on each connection; 0: HTTP/1.1")
	f.DurationVar(&c.warm, "warm", time.Second, "how long to run before measuring")
	f.DurationVar(&c.length, "d", 5*time.Second, "how long to measure")
	f.IntVar(&c.ramp, "ramp", 2000, "connections opened each second, for streams and idle")
	f.DurationVar(&c.settle, "settle", 3*time.Second, "idle: how long to wait before measuring")
	f.StringVar(&pids, "pids", "", "processes under test, separated by commas")
	f.Int64Var(&c.want, "want", 100, "requests: least bytes of an answer's body; a shorter one is an error, for the proxy gave it, not the agent")
	f.Int64Var(&c.event, "event", 1024, "streams: bytes of an event")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	for p := range strings.SplitSeq(pids, ",") {
		if p == "" {
			continue
		}
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, fmt.Errorf("-pids: %w", err)
		}
		c.pids = append(c.pids, n)
	}
	if c.conns < 1 || c.ramp < 1 || c.event < 1 || c.rate < 0 || c.multiplex < 0 || f.NArg() > 0 {
		return nil, fmt.Errorf("-c, -ramp and -event must be at least 1, -rate and -m at least 0, and nothing follows the flags")
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	return c, c.checkMultiplex()
}
