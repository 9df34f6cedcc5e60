// Command bench measures Airside beside nginx, HAProxy, Caddy and the bare
// reverse proxy of the Go standard library, on this machine:
//
//	go run ./bench            all of it, about half an hour
//	go run ./bench -quick     about four minutes, for a first look
//
// It builds what it needs, starts everything on free loopback ports, measures in
// interleaved rounds, prints a table, and leaves it, with all samples and a
// chart, in bench/results. Everything it started has ended when it ends, by
// Ctrl-C too. README.md in this folder says how to read the figures.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/airside-gateway/airside/bench/internal/report"
)

// options are the flags.
type options struct {
	quick    bool
	rounds   int
	only     []string // workloads; empty: all
	proxies  []string // empty: all
	json     bool
	syscalls bool   // count them too
	airside  string // a binary; empty: build it
	out      string // folder; empty: bench/results
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted; all that it started has ended")
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string, errOut io.Writer) (*options, error) {
	o := new(options)
	var only, proxies string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.BoolVar(&o.quick, "quick", false, "one short round of each: about four minutes")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each workload (default 5; 1 if quick)")
	f.StringVar(&only, "only", "", "workloads to run, separated by commas: "+strings.Join(workloadNames(), ","))
	f.StringVar(&proxies, "proxies", "", "proxies to measure, separated by commas: "+strings.Join(proxyNames(), ","))
	f.BoolVar(&o.json, "json", false, "print all samples as JSON instead of the table")
	f.BoolVar(&o.syscalls, "syscalls", false, "count the system calls of each request too, by strace, after everything else")
	f.StringVar(&o.airside, "airside", "", "measure this binary of Airside instead of building one")
	f.StringVar(&o.out, "out", "", "folder for the results (default bench/results)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a flag", f.Arg(0))
	}
	if o.rounds < 0 || o.rounds > 100 {
		return nil, errors.New("-rounds must be from 1 to 100")
	}
	if o.rounds == 0 {
		o.rounds = 5
		if o.quick {
			o.rounds = 1
		}
	}
	var err error
	if o.only, err = names("-only", only, workloadNames()); err != nil {
		return nil, err
	}
	o.proxies, err = names("-proxies", proxies, proxyNames())
	return o, err
}

// names splits a list and refuses names that are not known.
func names(flagName, list string, known []string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	all := strings.Split(list, ",")
	for _, n := range all {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%s: there is no %q among %s", flagName, n, strings.Join(known, ", "))
		}
	}
	return all, nil
}

// chosen reports whether name is among list, or list is empty.
func chosen(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	o, err := parse(args, errOut)
	if err != nil {
		return err
	}
	l, err := newLab(ctx, o, errOut)
	if err != nil {
		return err
	}
	r, err := l.measure(ctx)
	if err = errors.Join(err, l.close()); err != nil {
		return err
	}
	page, err := write(o, l.root, r)
	if err != nil {
		return err
	}
	if o.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		err = enc.Encode(r)
	} else {
		_, err = io.WriteString(out, page)
	}
	return errors.Join(err, l.failed())
}

// write leaves the results in the folder, and returns the page.
func write(o *options, root string, r *report.Report) (string, error) {
	dir := o.out
	if dir == "" {
		dir = filepath.Join(root, "bench", "results")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return "", err
	}
	name := r.Date
	if o.quick {
		name += "-quick"
	}
	page := r.Markdown(name + ".svg")
	var samples bytes.Buffer
	enc := json.NewEncoder(&samples)
	enc.SetIndent("", " ")
	if err := enc.Encode(r); err != nil {
		return "", err
	}
	chart := report.SVG("Airside beside others, "+r.Date+" (less is better)", r.Panels())
	for _, f := range []struct {
		suffix string
		data   []byte
	}{{".md", []byte(page)}, {".json", samples.Bytes()}, {".svg", chart}} {
		if err := os.WriteFile(filepath.Join(dir, name+f.suffix), f.data, 0o644); err != nil { //nolint:gosec // results are for everybody
			return "", err
		}
	}
	return page, nil
}

// today is the date in the name of the results.
func today() string { return time.Now().Format(time.DateOnly) }
