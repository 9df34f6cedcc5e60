package app

import (
	"slices"
	"sync"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/telemetry/metrics"
	"github.com/airside-gateway/airside/internal/telemetry/trace"
)

// Metrics counts what goes through the gateway. It lives as long as the app, whatever is
// configured.
func (a *App) Metrics() *metrics.Metrics { return a.metrics }

// Refused notes, for the metrics, that a configuration was refused before it came to
// [App.Apply].
func (a *App) Refused() { a.refused.Store(true) }

// newMetrics are those of a.
func (a *App) newMetrics(version string) *metrics.Metrics {
	m := metrics.New(metrics.Settings{
		Version:   version,
		Trace:     traceOf,
		Upstreams: a.measured,
		Listeners: a.connections,
		Active:    a.gateway.opened.exchanges,
		Config: func() metrics.Config {
			c := metrics.Config{Refused: a.refused.Load()}
			if now := a.applied.Load(); now != nil {
				c.Generation, c.Since = now.Nth, now.At
			}
			return c
		},
	})
	a.measureTraces(m)
	return m
}

// measureTraces tells of what becomes of traces. All is 0 where there are none.
func (a *App) measureTraces(m *metrics.Metrics) {
	count := func(of func(trace.Stats) uint64) func() uint64 {
		return func() uint64 {
			s, _ := a.Traces()
			return of(s)
		}
	}
	const dropped = "airside_traces_spans_dropped_total"
	const why = "Spans that were not sent: they were too many (queue_full), the collector could not be reached in time (unsent) or refused them (rejected), or an exchange had too many (lost)."
	m.Count("airside_traces_spans_exported_total", "Spans that the collector has taken.", count(func(s trace.Stats) uint64 { return s.Exported }))
	m.Count(dropped, why, count(func(s trace.Stats) uint64 { return s.QueueFull }), "reason", "queue_full")
	m.Count(dropped, why, count(func(s trace.Stats) uint64 { return s.Unsent }), "reason", "unsent")
	m.Count(dropped, why, count(func(s trace.Stats) uint64 { return s.Rejected }), "reason", "rejected")
	m.Count(dropped, why, count(func(s trace.Stats) uint64 { return s.Lost }), "reason", "lost")
	m.Count("airside_traces_exports_total", "Exports that were tried, with those that were tried again.", count(func(s trace.Stats) uint64 { return s.Requests }))
	m.Measure("airside_traces_waiting", "Exchanges whose traces wait to be sent.", func() float64 {
		s, _ := a.Traces()
		return float64(s.Waiting)
	})
}

// traceOf is the trace that an exchange can be found by, if it is kept.
func traceOf(x *airside.Exchange) ([16]byte, bool) {
	if !x.Trace.Sampled() {
		return [16]byte{}, false
	}
	return x.Trace.Context().Trace, true
}

// measured are the upstreams, whose addresses show no value of a reference.
func (a *App) measured() []metrics.Upstream {
	all := a.Upstreams()
	out := make([]metrics.Upstream, 0, len(all))
	for _, u := range all {
		if u.Pool != nil {
			for i := range u.Pool.Endpoints {
				e := &u.Pool.Endpoints[i]
				e.Address = a.mask.Replace(e.Address)
			}
		}
		out = append(out, metrics.Upstream{Name: u.Name, Pool: u.Pool})
	}
	return out
}

func (a *App) connections() []metrics.Listener {
	all := a.edge.Connections()
	out := make([]metrics.Listener, 0, len(all))
	for _, c := range all {
		out = append(out, metrics.Listener{Address: a.mask.Replace(c.Address), Open: c.Open, Refused: c.Refused})
	}
	return out
}

// metricsOptions are what c asks for. Series of routes and upstreams that are not of gen
// are dropped.
func metricsOptions(c *config.Config, gen *generation) metrics.Options {
	routes, upstreams := map[string]bool{"": true}, map[string]bool{"": true}
	for _, r := range gen.routes {
		routes[r.name] = true
	}
	for _, t := range gen.targets {
		upstreams[t.name] = true
	}
	m := &c.Telemetry.Metrics
	return metrics.Options{
		Off: m.Off, Series: m.Series, Caller: m.Caller,
		Keep: func(route, upstream string) bool { return routes[route] && upstreams[upstream] },
	}
}

// opened are the generations that are not closed.
type opened struct {
	mu   sync.Mutex
	gens []*generation
}

func (o *opened) add(gen *generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gens = append(o.gens, gen)
}

func (o *opened) remove(gen *generation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gens = slices.DeleteFunc(o.gens, func(g *generation) bool { return g == gen })
}

// exchanges is how many are under way in all of them.
func (o *opened) exchanges() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var n int64
	for _, gen := range o.gens {
		u := gen.users.Load()
		if u < 0 {
			u -= retired
		}
		n += u
	}
	return n
}
