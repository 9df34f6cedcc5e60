package main

import (
	"context"
	"time"

	"github.com/airside-gateway/airside/bench/internal/hist"
	"github.com/airside-gateway/airside/bench/internal/sample"
)

// requests asks on every connection again and again.
func (c *config) requests(ctx context.Context) (*sample.Sample, error) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	var crew crew
	tallies := make([]tally, c.conns)
	start := time.Now()
	for i := range tallies {
		crew.workers.Go(func() { c.askOn(ctx, &crew, &tallies[i], c.pace(i, start)) })
	}
	s, spent, err := c.measure(ctx, &crew)
	crew.finish(cut)
	if err != nil {
		return nil, err
	}
	var all hist.Histogram
	for i := range tallies {
		all.Merge(&tallies[i].latency)
		s.Total += tallies[i].total
	}
	s.Errors, s.TLS = crew.errors.Load(), crew.security()
	divide(s, spent, all.Count())
	latencies(s, &all)
	return s, nil
}

// A pace says when requests of one connection are due. The zero pace: at once.
type pace struct {
	step, next time.Duration // since start
	start      time.Time
	timer      *time.Timer
}

// pace spreads the connections evenly over one step.
func (c *config) pace(i int, start time.Time) *pace {
	if c.rate == 0 {
		return new(pace)
	}
	step := time.Duration(float64(c.conns) / c.rate * float64(time.Second))
	p := &pace{step: step, next: step * time.Duration(i) / time.Duration(c.conns), start: start, timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	return p
}

// due waits until the next request is due and returns when that was.
func (p *pace) due(ctx context.Context) (time.Time, bool) {
	now := time.Now()
	if p.step == 0 {
		return now, true
	}
	p.next += p.step
	at := p.start.Add(p.next)
	if early := at.Sub(now); early > 0 {
		p.timer.Reset(early)
		select {
		case <-p.timer.C:
		case <-ctx.Done():
			return at, false
		}
	}
	return at, true
}

func (c *config) askOn(ctx context.Context, crew *crew, t *tally, p *pace) {
	l := &line{peer: c.peer, buffer: 16 << 10}
	defer l.close()
	defer context.AfterFunc(ctx, func() { crew.stopping.Store(true) })()
	for !crew.stopping.Load() {
		if err := l.open(ctx); err != nil {
			crew.errors.Add(1)
			return
		}
		crew.note(l.conn)
		cut := context.AfterFunc(ctx, hangUp(l))
		c.askUntilClosed(ctx, crew, t, p, l)
		cut()
	}
}

// hangUp closes the connection that l has now, whoever reads from it.
func hangUp(l *line) func() {
	conn := l.conn
	return func() { _ = conn.Close() }
}

func (c *config) askUntilClosed(ctx context.Context, crew *crew, t *tally, p *pace, l *line) {
	for l.conn != nil && !crew.stopping.Load() {
		at, ok := p.due(ctx)
		if !ok {
			return
		}
		h, err := l.ask(ctx, c.request, nil)
		if err != nil || h.Status != 200 || h.Length >= 0 && h.Length < c.want {
			crew.errors.Add(1)
		}
		if err != nil {
			continue
		}
		t.total++
		if crew.measuring.Load() {
			t.latency.Add(time.Since(at))
		}
	}
}
