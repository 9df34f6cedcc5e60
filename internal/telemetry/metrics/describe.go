package metrics

import (
	"slices"
	"strings"
	"sync"
)

// A Kind is the type of a metric, in the words of Prometheus.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
	Summary   Kind = "summary"
)

// A Description says what a metric is.
type Description struct {
	Name   string
	Kind   Kind
	Labels []string // in the order of the alphabet
	Help   string
}

// Descriptions are those of all metrics of this package, in the order of the alphabet.
func Descriptions() []Description {
	all := slices.Concat(exchangeDescriptions(), upstreamDescriptions(), gatewayDescriptions(), goDescriptions(), processDescriptions())
	slices.SortFunc(all, func(a, b Description) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func exchangeDescriptions() []Description {
	labels := exchangeLabels()
	return []Description{
		{"http_server_request_duration_seconds", Histogram, labels, "Time from the head of a request to the last byte of its answer."},
		{"http_server_request_body_size_bytes", Histogram, labels, "Bytes of the body of a request, as far as it was read."},
		{"http_server_response_body_size_bytes", Histogram, labels, "Bytes of the body of an answer, as far as it was sent."},
		{"http_client_request_duration_seconds", Histogram, tryLabels(), "Time from the beginning of a try, a request to one endpoint, to the head of its answer."},
		{"http_server_active_requests", Gauge, nil, "Exchanges that are under way."},
	}
}

func upstreamDescriptions() []Description {
	one := []string{"upstream"}
	each := []string{"endpoint", "upstream"}
	return []Description{
		{"airside_upstream_endpoints", Gauge, one, "Endpoints that are known."},
		{"airside_upstream_endpoints_available", Gauge, one, "Endpoints that are asked: healthy, warming or half open."},
		{"airside_upstream_panic", Gauge, one, "1 if so many endpoints are out that all are asked nevertheless."},
		{"airside_upstream_retries_total", Counter, one, "Tries beyond the first."},
		{"airside_upstream_retries_denied_total", Counter, one, "Tries that the budget of retries did not allow."},
		{"airside_upstream_hedges_total", Counter, one, "Second requests that were sent while the first was awaited."},
		{"airside_upstream_hedges_won_total", Counter, one, "Second requests whose answer was taken."},
		{"airside_upstream_overflows_total", Counter, one, "Exchanges for which no endpoint had room."},
		{"airside_upstream_queued", Gauge, one, "Exchanges that wait for room at an endpoint."},
		{"airside_upstream_endpoint_state", Gauge, []string{"endpoint", "state", "upstream"}, "1 for the state that the endpoint is in, 0 for the others."},
		{"airside_upstream_endpoint_active", Gauge, each, "Exchanges that are under way at the endpoint."},
		{"airside_upstream_endpoint_requests_total", Counter, each, "Tries that were sent to the endpoint."},
		{"airside_upstream_endpoint_failures_total", Counter, each, "Tries that failed by a fault of the endpoint: no connection, broken, too late, or a status from 500 on."},
		{"airside_upstream_endpoint_latency_seconds", Gauge, each, "Time to the head of an answer, exponentially weighted; absent if not known."},
		{"airside_upstream_endpoint_weight", Gauge, each, "Share of the endpoint."},
	}
}

func gatewayDescriptions() []Description {
	return []Description{
		{"airside_build_info", Gauge, []string{"goarch", "goos", "goversion", "version"}, "1, with labels that say which program runs."},
		{"airside_config_generation", Gauge, nil, "Number of the configuration in force, counted from the start; 0 before the first."},
		{"airside_config_last_reload_success", Gauge, nil, "0 if the last configuration that was to be loaded was refused."},
		{"airside_config_last_reload_success_timestamp_seconds", Gauge, nil, "When the configuration in force was loaded, in seconds since 1970."},
		{"airside_listener_connections", Gauge, []string{"listener"}, "Connections of clients that are open, but those of HTTP/3."},
		{"airside_listener_refused_total", Counter, []string{"listener"}, "Connections that were closed at once, since there were too many."},
		{"airside_metrics_series", Gauge, nil, "Sets of labels that exchanges are counted under."},
		{"airside_metrics_overflow_total", Counter, nil, "Exchanges that were counted under the label value _overflow, since there were too many series."},
		{"airside_metrics_endpoints_hidden", Gauge, nil, "Endpoints that are not shown, since there are too many."},
		{"airside_metrics_scrapes_refused_total", Counter, nil, "Times that the metrics were not told, since too many asked at once."},
	}
}

// A registry holds metrics of other parts.
type registry struct {
	mu      sync.Mutex
	metrics []registered
}

type registered struct {
	Description

	values []string
	read   func() float64
}

// maxRegistered bounds the metrics that other parts add.
const maxRegistered = 200

// Count adds a counter, which read is asked for whenever the metrics are. The name ends
// in _total; labels are pairs of a name and a value that never changes. A metric of the
// same name and labels is replaced.
func (m *Metrics) Count(name, help string, read func() uint64, labels ...string) {
	m.own.add(name, Counter, help, func() float64 { return float64(read()) }, labels)
}

// Measure adds a gauge, as [Metrics.Count] adds a counter.
func (m *Metrics) Measure(name, help string, read func() float64, labels ...string) {
	m.own.add(name, Gauge, help, read, labels)
}

func (r *registry) add(name string, k Kind, help string, read func() float64, labels []string) {
	n := registered{read: read}
	n.Name, n.Kind, n.Help = name, k, help
	for i := 0; i+1 < len(labels); i += 2 {
		n.Labels, n.values = append(n.Labels, labels[i]), append(n.values, labels[i+1])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, old := range r.metrics {
		if old.Name == name && slices.Equal(old.Labels, n.Labels) && slices.Equal(old.values, n.values) {
			r.metrics[i] = n
			return
		}
	}
	if len(r.metrics) < maxRegistered {
		r.metrics = append(r.metrics, n)
	}
}

func (r *registry) all() []registered {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.metrics)
}
