package health

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// keep does what is due at a time: it ends ejections, lets breakers be tried, and slides
// windows. It runs until the group is closed.
func (g *Group) keep() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if d, due := g.next(); due {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-g.ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
			g.round(time.Now())
		}
	}
}

// next is in how much time something is due, if anything is.
func (g *Group) next() (d time.Duration, due bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var at time.Time
	if g.windows() {
		at = g.slid.Add(g.s.Eject.Window / buckets)
	}
	for _, h := range g.hosts {
		for _, c := range h.circuits() {
			if c.phase != closed && (at.IsZero() || c.until.Before(at)) {
				at = c.until
			}
		}
	}
	return time.Until(at), !at.IsZero()
}

// round does what is due.
func (g *Group) round(now time.Time) {
	g.mu.Lock()
	defer g.unlock()
	g.forget(now)
	for _, h := range g.hosts {
		turned := false
		for _, c := range h.circuits() {
			if c.phase != closed && !now.Before(c.until) {
				c.try(now)
				turned = true
			}
		}
		if turned {
			h.turn()
			g.refresh(h, now)
		}
	}
	if !g.windows() || now.Sub(g.slid) < g.s.Eject.Window/buckets {
		return
	}
	g.slid = now
	g.ejectSlow(now)
	for _, h := range g.hosts {
		h.window.slide(h.ended.Load())
	}
}

// ejectSlow ejects the host whose answers take longest to begin, if that is too long.
func (g *Group) ejectSlow(now time.Time) {
	e := g.s.Eject
	if e.Latency == 0 || !g.mayEject() {
		return
	}
	var hosts []*Host
	var latencies []time.Duration
	for _, h := range g.hosts {
		_, all := h.window.sum(h.ended.Load())
		if h.users > 0 && h.usable() && all >= uint64(e.Volume) { //nolint:gosec // it is not negative
			hosts = append(hosts, h)
			latencies = append(latencies, h.latency())
		}
	}
	i, median := slowest(latencies, e.Latency)
	if i < 0 {
		return
	}
	g.open(hosts[i], &hosts[i].eject, now,
		fmt.Sprintf("its answers take %s to begin, those of the others %s", short(latencies[i]), short(median)))
}

// short rounds a time so that it can be read.
func short(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

// rated returns why the share of failures of h is too large, or why if that says
// something already.
func (g *Group) rated(h *Host, r Result, why string) string {
	e := g.s.Eject
	failed, all := h.window.sum(h.ended.Load())
	if why != "" || all < uint64(e.Volume) || float64(failed) < float64(e.Rate)*float64(all) { //nolint:gosec // it is not negative
		return why
	}
	return fmt.Sprintf("%d of %d exchanges failed within %s, the last: %s", failed, all, e.Window, r.why())
}

// mayEject reports whether another host may be ejected.
func (g *Group) mayEject() bool { return g.ejected() < g.most() }

// ejected is how many hosts are ejected, those that are tried included.
func (g *Group) ejected() int {
	n := 0
	for _, h := range g.hosts {
		if h.users > 0 && h.eject.phase != closed {
			n++
		}
	}
	return n
}

// most is how many may be.
func (g *Group) most() int {
	n := int(float64(g.s.Eject.Max)*float64(g.present) + 1e-9)
	if g.present > 1 {
		return max(n, 1)
	}
	return n
}

// spare takes hosts back that may not be ejected any more since there are fewer hosts,
// those first whose time is over first.
func (g *Group) spare(now time.Time) {
	if g.eject == nil {
		return
	}
	for g.ejected() > g.most() {
		var first *Host
		for _, h := range g.hosts {
			if h.users > 0 && h.eject.phase != closed && (first == nil || h.eject.until.Before(first.eject.until)) {
				first = h
			}
		}
		first.eject.close(now)
		first.turn()
		g.refresh(first, now)
	}
}

// Changes of states are logged, maxReported within reportEvery; of more only how many
// there were.
const (
	maxReported = 50
	reportEvery = 10 * time.Second
)

// A report is what is to be logged when the mutex of the group has been given back.
type report struct {
	lines   []func(*slog.Logger)
	since   time.Time
	written int
	left    int // not logged
}

// changed has a change logged.
func (g *Group) changed(c change) {
	level := slog.LevelWarn
	if c.to == StateHealthy || c.to == StateHalfOpen {
		level = slog.LevelInfo
	}
	attrs := []slog.Attr{slog.String("endpoint", c.address), slog.String("from", c.from), slog.String("to", c.to)}
	if c.why != "" {
		attrs = append(attrs, slog.String("why", c.why))
	}
	g.add(func(log *slog.Logger) {
		log.LogAttrs(context.Background(), level, "the health of an endpoint has changed", attrs...)
	})
}

// changedPanic has the beginning or the end of a panic logged.
func (g *Group) changedPanic(usable int) {
	attrs := []slog.Attr{slog.Int("usable", usable), slog.Int("endpoints", g.present)}
	if g.panics {
		g.add(func(log *slog.Logger) {
			log.LogAttrs(context.Background(), slog.LevelWarn, "too few endpoints are well: all are asked nevertheless", attrs...)
		})
		return
	}
	g.add(func(log *slog.Logger) {
		log.LogAttrs(context.Background(), slog.LevelInfo, "enough endpoints are well again: the others are left aside", attrs...)
	})
}

func (g *Group) add(write func(*slog.Logger)) {
	r := &g.report
	if now := time.Now(); now.Sub(r.since) >= reportEvery {
		if left := r.left; left > 0 {
			r.lines = append(r.lines, func(log *slog.Logger) {
				log.LogAttrs(context.Background(), slog.LevelWarn, "not every change of health was logged: there were too many", slog.Int("changes", left))
			})
		}
		r.since, r.written, r.left = now, 0, 0
	}
	if r.written == maxReported {
		r.left++
		return
	}
	r.written++
	r.lines = append(r.lines, write)
}

// unlock gives the mutex back, and writes what is to be logged.
func (g *Group) unlock() {
	lines := g.report.lines
	g.report.lines = nil
	g.mu.Unlock()
	for _, write := range lines {
		write(g.s.Log)
	}
}
