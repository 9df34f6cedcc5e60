package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/bench/internal/hist"
	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/sample"
)

// streams reads one event stream after the other on every connection. Events are
// counted by their bytes, not by the chunks they come in: a proxy may join or
// split chunks.
func (c *config) streams(ctx context.Context) (*sample.Sample, error) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	var crew crew
	var open atomic.Int64
	tallies := make([]tally, c.conns)
	for i := range c.ramped(ctx) {
		crew.workers.Go(func() { c.readOn(ctx, &crew, &tallies[i], &open) })
	}
	s, spent, err := c.measure(ctx, &crew)
	if s != nil {
		s.Open = open.Load()
	}
	crew.stopping.Store(true)
	cut() // streams have no end to wait for
	crew.workers.Wait()
	if err != nil {
		return nil, err
	}
	var all hist.Histogram
	var total int64
	for i := range tallies {
		all.Merge(&tallies[i].latency)
		total += tallies[i].bytes
		s.Total += tallies[i].total / c.event
		s.Chunks += tallies[i].chunks
	}
	s.Errors = crew.errors.Load()
	divide(s, spent, total/c.event)
	latencies(s, &all)
	return s, nil
}

// ramped counts the connections, at most -ramp a second, until ctx ends.
func (c *config) ramped(ctx context.Context) iter.Seq[int] {
	return func(yield func(int) bool) {
		tick := time.NewTicker(time.Second / time.Duration(c.ramp))
		defer tick.Stop()
		for i := range c.conns {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if !yield(i) {
				return
			}
		}
	}
}

func (c *config) readOn(ctx context.Context, crew *crew, t *tally, open *atomic.Int64) {
	l := &line{peer: c.peer, buffer: 4 << 10}
	defer l.close()
	for !crew.stopping.Load() {
		if err := l.open(ctx); err != nil {
			if ctx.Err() == nil {
				crew.errors.Add(1)
			}
			return
		}
		cut := context.AfterFunc(ctx, hangUp(l))
		for l.conn != nil && !crew.stopping.Load() {
			open.Add(1)
			err := c.readStream(ctx, crew, t, l)
			open.Add(-1)
			if err != nil && !crew.stopping.Load() {
				crew.errors.Add(1)
			}
		}
		cut()
	}
}

var errStatus = errors.New("the status is not 200")

func (c *config) readStream(ctx context.Context, crew *crew, t *tally, l *line) error {
	asked, first := time.Now(), true
	h, err := l.ask(ctx, c.request, func(n int) {
		t.total += int64(n)
		if !crew.measuring.Load() {
			first = false
			return
		}
		if first {
			first = false
			t.latency.Add(time.Since(asked))
		}
		t.bytes += int64(n)
		t.chunks++
	})
	if err == nil && h.Status != 200 {
		return fmt.Errorf("%w: %d", errStatus, h.Status)
	}
	return err
}

// idle opens streams, waits until they are silent and reports what they hold.
func (c *config) idle(ctx context.Context) (*sample.Sample, error) {
	rss, pss := proc.Memory(c.pids)
	var crew crew
	conns := make([]net.Conn, c.conns)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
	}()
	for i := range c.ramped(ctx) {
		crew.workers.Go(func() {
			conn, err := c.openStream(ctx)
			conns[i] = conn
			if err != nil {
				crew.errors.Add(1)
			}
		})
	}
	crew.workers.Wait()
	c.warm = c.settle
	s, _, err := c.measure(ctx, &crew)
	if err != nil {
		return nil, err
	}
	s.Errors = crew.errors.Load()
	n := int64(c.conns) - s.Errors
	s.Units, s.Open = n, n
	s.RSSEach, s.PSSEach = float64(s.RSS-rss)/float64(max(n, 1)), float64(s.PSS-pss)/float64(max(n, 1))
	return s, nil
}

// openStream asks for a stream and returns once its first event has come.
func (c *config) openStream(ctx context.Context) (net.Conn, error) {
	l := &line{peer: c.peer, buffer: 4 << 10}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	if err := l.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return l.conn, err
	}
	if _, err := l.conn.Write(c.request); err != nil {
		return l.conn, err
	}
	var seen []byte
	buf := make([]byte, 2048)
	for !bytes.Contains(seen, []byte("data:")) {
		n, err := l.conn.Read(buf)
		if err != nil {
			return l.conn, err
		}
		seen = append(seen, buf[:n]...)
	}
	return l.conn, nil
}
