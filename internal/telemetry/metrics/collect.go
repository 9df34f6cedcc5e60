package metrics

import (
	"encoding/hex"
	"math"
	"runtime"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/airside-gateway/airside/internal/pool"
)

// A gathering is the metrics as they are at a moment, in the form that they are told in.
type gathering struct {
	families map[string]*family
}

type family struct {
	*dto.MetricFamily

	labels []string
}

// gather asks everything for its numbers.
func (m *Metrics) gather() []*dto.MetricFamily {
	g := &gathering{families: map[string]*family{}}
	for _, d := range Descriptions() {
		g.describe(d)
	}
	m.exchanges(g)
	m.tried(g)
	m.upstreams(g)
	m.gateway(g)
	goRuntime(g)
	process(g, m.began)
	for _, r := range m.own.all() {
		g.describe(r.Description)
		g.set(r.Name, r.read(), r.values...)
	}
	return g.sorted()
}

func (g *gathering) describe(d Description) {
	if g.families[d.Name] != nil {
		return
	}
	var kind dto.MetricType
	switch d.Kind {
	case Counter:
		kind = dto.MetricType_COUNTER
	case Gauge:
		kind = dto.MetricType_GAUGE
	case Histogram:
		kind = dto.MetricType_HISTOGRAM
	case Summary:
		kind = dto.MetricType_SUMMARY
	}
	g.families[d.Name] = &family{&dto.MetricFamily{Name: new(d.Name), Help: new(d.Help), Type: kind.Enum()}, d.Labels}
}

// sorted returns the families that have a metric.
func (g *gathering) sorted() []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, f := range g.families {
		if len(f.Metric) > 0 {
			out = append(out, f.MetricFamily)
		}
	}
	slices.SortFunc(out, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return out
}

// add adds a metric to the family called name, with the values of its labels, of which
// empty ones are left out. It returns a metric that nobody sees where there is no such
// family.
func (g *gathering) add(name string, values []string) *dto.Metric {
	m := &dto.Metric{}
	f := g.families[name]
	if f == nil {
		return m
	}
	for i, v := range values {
		if v != "" && i < len(f.labels) {
			m.Label = append(m.Label, &dto.LabelPair{Name: new(f.labels[i]), Value: new(strings.ToValidUTF8(v, "\uFFFD"))})
		}
	}
	f.Metric = append(f.Metric, m)
	return m
}

// set adds a counter or a gauge.
func (g *gathering) set(name string, v float64, values ...string) {
	m := g.add(name, values)
	if f := g.families[name]; f != nil && f.GetType() == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: &v}
		return
	}
	m.Gauge = &dto.Gauge{Value: &v}
}

func (m *Metrics) exchanges(g *gathering) {
	all := m.series.all()
	slices.SortFunc(all, func(a, b *series) int { return slices.Compare(a.key.labels(), b.key.labels()) })
	var t total
	put := func(s *series, labels []string) {
		s.total(&t)
		g.add("http_server_request_duration_seconds", labels).Histogram = m.layout.histogram(&t, &s.exemplars)
		g.add("http_server_request_body_size_bytes", labels).Histogram = sizeHistogram(&t.in, t.inSum)
		g.add("http_server_response_body_size_bytes", labels).Histogram = sizeHistogram(&t.out, t.outSum)
	}
	for _, s := range all {
		put(s, s.key.labels())
	}
	if s := m.series.over.Load(); s != nil {
		put(s, overflowLabels())
	}
	g.set("airside_metrics_series", float64(len(all)))
	g.set("airside_metrics_overflow_total", float64(m.overflow.Load()))
	if m.settings.Active != nil {
		g.set("http_server_active_requests", float64(m.settings.Active()))
	}
}

func (m *Metrics) gateway(g *gathering) {
	g.set("airside_build_info", 1, runtime.GOARCH, runtime.GOOS, runtime.Version(), m.settings.Version)
	g.set("airside_metrics_scrapes_refused_total", float64(m.refused.Load()))
	if m.settings.Config != nil {
		c := m.settings.Config()
		g.set("airside_config_generation", float64(c.Generation))
		success := 1.0
		if c.Refused {
			success = 0
		}
		g.set("airside_config_last_reload_success", success)
		if !c.Since.IsZero() {
			g.set("airside_config_last_reload_success_timestamp_seconds", float64(c.Since.UnixMilli())/1e3)
		}
	}
	if m.settings.Listeners != nil {
		for _, l := range m.settings.Listeners() {
			g.set("airside_listener_connections", float64(l.Open), l.Address)
			g.set("airside_listener_refused_total", float64(l.Refused), l.Address)
		}
	}
}

// states are those of an endpoint, in the order of the alphabet.
var states = [...]string{
	pool.StateEjected, pool.StateHalfOpen, pool.StateHealthy, pool.StateLeaving, pool.StateOpen, pool.StateUnhealthy, pool.StateWarming,
}

// upstreams asks the upstreams how they stand. Endpoints have as many series as they are:
// those that have left have none. Beyond the bound they are counted only.
func (m *Metrics) upstreams(g *gathering) {
	if m.settings.Upstreams == nil {
		return
	}
	room := 0
	if live := m.live.Load(); live != nil {
		room = live.Series
	}
	hidden := 0
	for _, u := range m.settings.Upstreams() {
		if u.Pool == nil {
			continue
		}
		available := 0
		seen := map[string]bool{} // an address may be listed twice, with different paths
		for i := range u.Pool.Endpoints {
			e := &u.Pool.Endpoints[i]
			if e.State == pool.StateHealthy || e.State == pool.StateWarming || e.State == pool.StateHalfOpen {
				available++
			}
			if seen[e.Address] {
				continue
			}
			seen[e.Address] = true
			if room--; room < 0 {
				hidden++
				continue
			}
			g.endpoint(u.Name, e)
		}
		g.upstream(u.Name, u.Pool, available)
	}
	g.set("airside_metrics_endpoints_hidden", float64(hidden))
}

func (g *gathering) upstream(name string, p *pool.Snapshot, available int) {
	panicking := 0.0
	if p.Panic {
		panicking = 1
	}
	g.set("airside_upstream_endpoints", float64(len(p.Endpoints)), name)
	g.set("airside_upstream_endpoints_available", float64(available), name)
	g.set("airside_upstream_panic", panicking, name)
	g.set("airside_upstream_retries_total", float64(p.Retries), name)
	g.set("airside_upstream_retries_denied_total", float64(p.RetriesDenied), name)
	g.set("airside_upstream_hedges_total", float64(p.Hedges), name)
	g.set("airside_upstream_hedges_won_total", float64(p.HedgesWon), name)
	g.set("airside_upstream_overflows_total", float64(p.Overflows), name)
	g.set("airside_upstream_queued", float64(p.Queued), name)
}

func (g *gathering) endpoint(upstream string, e *pool.EndpointSnapshot) {
	for _, s := range states {
		is := 0.0
		if s == e.State {
			is = 1
		}
		g.set("airside_upstream_endpoint_state", is, e.Address, s, upstream)
	}
	g.set("airside_upstream_endpoint_active", float64(e.Active), e.Address, upstream)
	g.set("airside_upstream_endpoint_requests_total", float64(e.Requests), e.Address, upstream)
	g.set("airside_upstream_endpoint_failures_total", float64(e.Failures), e.Address, upstream)
	g.set("airside_upstream_endpoint_weight", float64(e.Weight), e.Address, upstream)
	if e.Latency > 0 {
		g.set("airside_upstream_endpoint_latency_seconds", e.Latency.Seconds(), e.Address, upstream)
	}
}

// histogram is that of durations, with classic and native buckets.
func (l *layout) histogram(t *total, exemplars *[splits + 1]exemplarAt) *dto.Histogram {
	h := &dto.Histogram{Schema: new(int32(schema)), ZeroThreshold: new(math.Exp2(lowest)), ZeroCount: new(uint64(0)), SampleSum: new(float64(t.took) / 1e9)}
	var classic [splits + 1]uint64
	var native [1 + natives]uint64
	var count uint64
	for i, n := range t.seconds {
		classic[l.classic[i]] += n
		native[l.of[i]] += n
		count += n
	}
	h.SampleCount = &count
	h.ZeroCount = &native[0]
	var under uint64
	for i, n := range classic {
		under += n
		bound := math.Inf(1)
		if i < splits {
			bound = l.upper[i].Seconds()
		}
		b := &dto.Bucket{UpperBound: &bound, CumulativeCount: new(under), Exemplar: exemplars[i].Load().told()}
		if i < splits || b.Exemplar != nil { // the last one is implied
			h.Bucket = append(h.Bucket, b)
		}
	}
	h.PositiveSpan, h.PositiveDelta = spans(native[1:], index(1))
	return h
}

// told is e as Prometheus wants it; nil for nil.
func (e *exemplar) told() *dto.Exemplar {
	if e == nil {
		return nil
	}
	return &dto.Exemplar{
		Label:     []*dto.LabelPair{{Name: new("trace_id"), Value: new(hex.EncodeToString(e.trace[:]))}},
		Value:     new(e.took.Seconds()),
		Timestamp: timestamppb.New(e.at),
	}
}

// sizeHistogram is that of sizes, with classic and native buckets.
func sizeHistogram(in *[sizeCells]uint64, sum uint64) *dto.Histogram {
	h := &dto.Histogram{Schema: new(int32(0)), ZeroThreshold: new(float64(0)), ZeroCount: new(in[0]), SampleSum: new(float64(sum))}
	var count, under uint64
	for _, n := range in {
		count += n
	}
	h.SampleCount = &count
	next := 0
	for _, power := range sizeBounds() {
		for ; next <= 1+power; next++ {
			under += in[next]
		}
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(math.Exp2(float64(power))), CumulativeCount: new(under)})
	}
	h.PositiveSpan, h.PositiveDelta = spans(in[1:], 0)
	return h
}

// spans are the native buckets that are not empty, the first of which has the index
// first: spans of buckets, each with its distance from the one before, and the
// differences of neighbours. A histogram without any has one span of no length, by which
// it is known to be native.
func spans(buckets []uint64, first int) ([]*dto.BucketSpan, []int64) {
	var out []*dto.BucketSpan
	var deltas []int64
	var before uint64
	next := 0 // index after the last span
	for i, n := range buckets {
		if n == 0 {
			continue
		}
		at := first + i
		if len(out) == 0 || at != next {
			out = append(out, &dto.BucketSpan{Offset: new(int32(at - next)), Length: new(uint32(0))}) //nolint:gosec // a few hundred
		}
		*out[len(out)-1].Length++
		deltas = append(deltas, int64(n-before)) //nolint:gosec // differences may be negative
		before, next = n, at+1
	}
	if len(out) == 0 {
		out = []*dto.BucketSpan{{Offset: new(int32(0)), Length: new(uint32(0))}}
	}
	return out, deltas
}
