package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/report"
)

// traced lists the workloads whose system calls are counted.
var traced = []string{"post", "large", "sse"}

// countCalls counts the system calls of all proxies, one after the other. Strace
// stops a process at every call, so that nothing is measured meanwhile.
func (l *lab) countCalls(ctx context.Context) error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		l.report.Missing = append(l.report.Missing, "system calls are not counted: strace is not installed (apt-get install strace)")
		l.fail(errors.New("-syscalls: strace is not installed (apt-get install strace); the calls are not counted"))
		return nil
	}
	for _, w := range workloads {
		if !slices.Contains(traced, w.name) || !chosen(l.options.only, w.name) {
			continue
		}
		calls := report.Calls{Workload: w.title, Unit: "request"}
		if w.kind == report.Streams {
			calls.Unit = "event"
		}
		for _, e := range l.entrants {
			row, err := l.trace(ctx, strace, w, e)
			l.stop(e)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				l.fail(fmt.Errorf("%s: %s: system calls: %w", w.name, e.name, err))
				continue
			}
			l.say("  %s  %-14s %d counted", w.name, e.name, row.Units)
			calls.Rows = append(calls.Rows, row)
		}
		l.report.Calls = append(l.report.Calls, calls)
	}
	return nil
}

// trace starts e and counts its system calls under the load of w.
func (l *lab) trace(ctx context.Context, strace string, w workload, e *entrant) (report.CallsRow, error) {
	row := report.CallsRow{Proxy: e.name}
	if _, err := l.start(ctx, e); err != nil {
		return row, err
	}
	counts := filepath.Join(l.dir, "strace.out")
	if _, err := l.load(ctx, w, e, "-warm", "0s", "-d", "300ms"); err != nil { // connects to the agent
		return row, err
	}
	args := []string{"-f", "-c", "-o", counts}
	for _, pid := range e.process.PIDs() {
		args = append(args, "-p", strconv.Itoa(pid))
	}
	log, err := os.Create(filepath.Join(l.dir, "strace.log")) //nolint:gosec // in the folder of the run
	if err != nil {
		return row, err
	}
	defer func() { _ = log.Close() }()
	p, err := proc.Start(ctx, proc.Command{Path: strace, Args: args, CPU: l.loadCPU, Log: log})
	if err != nil {
		return row, err
	}
	defer p.Stop()
	if err := untilAttached(ctx, p, log, len(e.process.PIDs())); err != nil {
		return row, err
	}
	s, err := l.load(ctx, w, e, "-warm", "0s")
	if err != nil {
		return row, err
	}
	p.Stop()
	b, err := os.ReadFile(counts) //nolint:gosec // in the folder of the run
	if err != nil {
		return row, err
	}
	if s.Total < 1 || s.Errors > 0 {
		return row, fmt.Errorf("%d were answered, with %d errors", s.Total, s.Errors)
	}
	row.Units = s.Total
	row.Each, row.Failed = parseCalls(b, s.Total)
	return row, nil
}

// untilAttached waits until strace has told that it holds n processes.
func untilAttached(ctx context.Context, p *proc.Process, log *os.File, n int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for strings.Count(tail(log), " attached") < n {
		select {
		case <-tick.C:
		case <-p.Ended():
			return fmt.Errorf("strace ended: %w\n%s", errors.Join(errEnded, p.Wait()), tail(log))
		case <-ctx.Done():
			return fmt.Errorf("strace does not attach: %w\n%s", ctx.Err(), tail(log))
		}
	}
	return nil
}

// parseCalls reads the table of strace -c: share, seconds, µs a call, calls,
// errors if there were any, and the name.
func parseCalls(b []byte, units int64) (each map[string]float64, failed float64) {
	each = map[string]float64{}
	n := float64(max(units, 1))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "total" {
			continue
		}
		calls, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			continue
		}
		each[f[len(f)-1]] += float64(calls) / n
		if len(f) > 5 {
			if wrong, err := strconv.ParseInt(f[4], 10, 64); err == nil {
				failed += float64(wrong) / n
			}
		}
	}
	return each, failed
}
