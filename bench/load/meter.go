package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/bench/internal/hist"
	"github.com/airside-gateway/airside/bench/internal/proc"
	"github.com/airside-gateway/airside/bench/internal/sample"
)

// patience is how long requests under way have to finish at the end of a run.
const patience = 2 * time.Second

// A crew is the workers of a run and what they have in common.
type crew struct {
	workers   sync.WaitGroup
	measuring atomic.Bool
	stopping  atomic.Bool
	errors    atomic.Int64
	secured   sync.Map // what was agreed on by TLS -> nil
}

// note takes note of what was agreed on when c was opened, if it speaks TLS.
func (c *crew) note(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		s := t.ConnectionState()
		c.secured.Store(strings.Join([]string{tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), cmp.Or(s.NegotiatedProtocol, "no ALPN")}, ", "), nil)
	}
}

// security is what all connections agreed on, different ones separated by "; ".
func (c *crew) security() string {
	var all []string
	c.secured.Range(func(k, _ any) bool {
		all = append(all, fmt.Sprint(k))
		return true
	})
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// A tally is what one worker counted while the crew was measuring.
type tally struct {
	latency hist.Histogram
	bytes   int64
	chunks  int64
	total   int64    // units, or bytes of streams, also when nothing was measured
	_       [64]byte // of another cache line than the next worker's
}

// measure lets the crew warm up, then measures for the length of the run, and
// fills in what the kernel knows. Units are not known yet.
func (c *config) measure(ctx context.Context, crew *crew) (*sample.Sample, accounts, error) {
	alive := wait(ctx, c.warm)
	if !alive {
		return nil, accounts{}, ctx.Err()
	}
	spent := c.spend(func() { alive = wait(ctx, c.length) }, &crew.measuring)
	if !alive {
		return nil, accounts{}, ctx.Err()
	}
	s := &sample.Sample{Seconds: spent.elapsed.Seconds(), Busy: float64(spent.cpu) / float64(spent.elapsed)}
	s.RSS, s.PSS = proc.Memory(c.pids)
	return s, spent, nil
}

// accounts is what the kernel counted for the processes under test.
type accounts struct {
	elapsed           time.Duration
	cpu, user, system time.Duration
	switches          int64
}

// spend runs f and returns what was spent meanwhile. The processor time is read
// next to f on both sides; what takes longer to read lies around it.
func (c *config) spend(f func(), measuring *atomic.Bool) accounts {
	user, system := proc.UserSystem(c.pids)
	switches := proc.Switches(c.pids)
	cpu, start := proc.CPU(c.pids), time.Now()
	measuring.Store(true)
	f()
	measuring.Store(false)
	a := accounts{cpu: proc.CPU(c.pids) - cpu, elapsed: time.Since(start)}
	a.switches = proc.Switches(c.pids) - switches
	u, s := proc.UserSystem(c.pids)
	a.user, a.system = u-user, s-system
	return a
}

// divide spreads what was spent over the units.
func divide(s *sample.Sample, spent accounts, units int64) {
	n := float64(max(units, 1))
	s.Units = units
	s.Rate = float64(units) / s.Seconds
	s.CPU, s.User, s.System = micros(spent.cpu)/n, micros(spent.user)/n, micros(spent.system)/n
	s.Switches = float64(spent.switches) / n
}

func latencies(s *sample.Sample, h *hist.Histogram) {
	s.P50, s.P90, s.P99, s.P999 = micros(h.Quantile(.5)), micros(h.Quantile(.9)), micros(h.Quantile(.99)), micros(h.Quantile(.999))
	s.Max = micros(h.Max())
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// finish tells the crew to stop and waits for it; what is still under way after
// patience loses its connection by cut.
func (c *crew) finish(cut context.CancelFunc) {
	c.stopping.Store(true)
	timer := time.AfterFunc(patience, cut)
	defer timer.Stop()
	c.workers.Wait()
}
