package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/report"
	"github.com/airside-gateway/airside/bench/internal/sample"
)

// measure runs the workloads, one after the other.
func (l *lab) measure(ctx context.Context) (*report.Report, error) {
	for _, w := range workloads {
		if !chosen(l.options.only, w.name) {
			continue
		}
		l.say("%s: %s", w.name, w.title)
		result := report.Workload{Name: w.name, Title: w.title, Kind: w.kind}
		if n := w.connections(l.files); n < w.streams {
			result.Title += fmt.Sprintf(" (here %d streams: no more files may be open)", n)
		}
		var err error
		switch w.kind {
		case report.Requests, report.Streams:
			err = l.together(ctx, w, &result)
		case report.Idle, report.Start:
			err = l.alone(ctx, w, &result)
		}
		if err != nil {
			return nil, err
		}
		l.report.Workloads = append(l.report.Workloads, result)
	}
	if l.options.syscalls {
		if err := l.countCalls(ctx); err != nil {
			return nil, err
		}
	}
	return l.report, nil
}

// together measures with all proxies running, idle but for the one whose turn it
// is. Each round begins with another proxy, so that a slow drift of the machine
// hits all alike.
func (l *lab) together(ctx context.Context, w workload, result *report.Workload) error {
	var running []*entrant
	defer func() {
		for _, e := range running {
			l.stop(e)
		}
	}()
	for _, e := range l.entrants {
		_, err := l.start(ctx, e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			l.stop(e)
			l.fail(err)
			continue
		}
		running = append(running, e)
	}
	for round := range l.options.roundsOf(w.kind) {
		for _, e := range rotated(running, round) {
			if err := l.sample(ctx, w, e, round, result); err != nil {
				return err
			}
		}
	}
	return nil
}

// alone starts each proxy anew for each round, and ends it again.
func (l *lab) alone(ctx context.Context, w workload, result *report.Workload) error {
	for round := range l.options.roundsOf(w.kind) {
		for _, e := range rotated(l.entrants, round) {
			err := l.once(ctx, w, e, round, result)
			l.stop(e)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, errAgent) {
				return err
			}
			if err != nil {
				l.fail(err)
			}
		}
	}
	return nil
}

// once starts e and measures it, or its start.
func (l *lab) once(ctx context.Context, w workload, e *entrant, round int, result *report.Workload) error {
	took, err := l.start(ctx, e)
	if err != nil {
		return err
	}
	if w.kind == report.Idle {
		return l.sample(ctx, w, e, round, result)
	}
	if !wait(ctx, l.options.times().idle) {
		return ctx.Err()
	}
	pids := e.process.PIDs()
	s := sample.Sample{Mode: string(report.Start), Units: 1, P50: float64(took.Nanoseconds()) / 1000}
	s.RSS, s.PSS = proc.Memory(pids)
	l.note(w, e, round, s, result)
	return nil
}

var (
	errEnded = errors.New("it ended by itself")
	errAgent = errors.New("the agent behind the proxies") // without it nothing can be measured
)

// sample runs the load generator against e. The failure of a run is noted; only the
// end of ctx or of the agent is an error.
func (l *lab) sample(ctx context.Context, w workload, e *entrant, round int, result *report.Workload) error {
	select {
	case <-l.agent.Ended():
		return fmt.Errorf("%w: %w\n%s", errAgent, errors.Join(errEnded, l.agent.Wait()), tail(l.agentLog))
	case <-e.process.Ended():
		l.fail(fmt.Errorf("%s: %s: %w\n%s", w.name, e.name, errors.Join(errEnded, e.process.Wait()), tail(e.log)))
		return nil
	default:
	}
	s, err := l.load(ctx, w, e)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		l.fail(fmt.Errorf("%s: %s: %w", w.name, e.name, err))
		return nil
	}
	l.note(w, e, round, *s, result)
	if s.Errors > 0 {
		l.fail(fmt.Errorf("%s: %s: %d errors of %d: the figures are worth nothing\n%s", w.name, e.name, s.Errors, s.Errors+s.Units, tail(e.log)))
	}
	return e.log.Truncate(0) // an access log of all rounds would be gigabytes
}

func (l *lab) load(ctx context.Context, w workload, e *entrant, more ...string) (*sample.Sample, error) {
	args := w.arguments(l.options.times(), l.files, e.ports, l.cert.cert)
	args = append(args, more...)
	args = append(args, "-pids", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(e.process.PIDs())), ","), "[]"))
	var out bytes.Buffer
	p, err := proc.Start(ctx, proc.Command{
		Path: filepath.Join(l.dir, "load"), Args: args, Env: []string{"GOMAXPROCS=1"}, CPU: l.loadCPU, Nice: nice, Out: &out, Log: nil,
	})
	if err != nil {
		return nil, err
	}
	proc.Favour(p.PIDs())
	if err := p.Wait(); err != nil {
		return nil, fmt.Errorf("the load generator: %w", err)
	}
	s := new(sample.Sample)
	if err := json.Unmarshal(out.Bytes(), s); err != nil {
		return nil, errors.Join(errors.New("the load generator printed no sample"), err)
	}
	return s, nil
}

func (l *lab) note(w workload, e *entrant, round int, s sample.Sample, result *report.Workload) {
	result.Add(e.name, report.Round{Round: round, Sample: s})
	figure := ""
	switch w.kind {
	case report.Requests, report.Streams:
		figure = fmt.Sprintf("%7.1f µs CPU, %8.0f/s, p99 %7.0f µs", s.CPU, s.Rate, s.P99)
	case report.Idle:
		figure = fmt.Sprintf("%7.1f KiB a stream", s.RSSEach)
	case report.Start:
		figure = fmt.Sprintf("%7.1f ms, %6.1f MiB", s.P50/1000, float64(s.RSS)/1024)
	}
	l.say("  round %d/%d  %-14s %s", round+1, l.options.roundsOf(w.kind), e.name, figure)
}

// rotated begins with another one each round.
func rotated(list []*entrant, round int) []*entrant {
	if len(list) == 0 {
		return nil
	}
	k := round % len(list)
	return append(append([]*entrant(nil), list[k:]...), list[:k]...)
}
