// Package report makes a benchmark's samples into figures, tables and a chart.
package report

import (
	"cmp"
	"math"
	"slices"

	"github.com/airside-gateway/airside/bench/internal/sample"
)

// A Report is a whole run of the benchmark.
type Report struct {
	Date      string     `json:"date"`
	Machine   Machine    `json:"machine"`
	Rounds    int        `json:"rounds"`
	Seconds   float64    `json:"seconds"`   // measured, each time
	Reference string     `json:"reference"` // the proxy that ratios are to; empty: none ran
	Missing   []string   `json:"missing,omitempty"`
	Proxies   []Proxy    `json:"proxies"`
	Workloads []Workload `json:"workloads"`
	Promises  []Promise  `json:"promises,omitempty"`
	Calls     []Calls    `json:"calls,omitempty"` // system calls, if they were counted
}

// A Machine is where it ran.
type Machine struct {
	Processor  string `json:"processor"`
	Processors int    `json:"processors"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	ProxyCPU   int    `json:"proxy_cpu"`
	LoadCPU    int    `json:"load_cpu"`
}

// A Proxy is what was measured.
type Proxy struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Version string `json:"version"`
	Bytes   int64  `json:"bytes"` // of the binary, without shared libraries
}

// A Kind is what a workload measures first of all.
type Kind string

// The kinds.
const (
	Requests Kind = "requests" // processor time of a request
	Streams  Kind = "streams"  // processor time of an event
	Idle     Kind = "idle"     // memory of a silent stream
	Start    Kind = "start"    // time to the first answer
)

// A Workload is one kind of load, and what it measured of each proxy.
type Workload struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Kind  Kind   `json:"kind"`
	Rows  []Row  `json:"rows"`
}

// A Row is the samples of one proxy.
type Row struct {
	Proxy   string  `json:"proxy"`
	Samples []Round `json:"samples"`
}

// A Round is a sample and the round that it was taken in.
type Round struct {
	Round int `json:"round"`
	sample.Sample
}

// headline is the figure that a kind is about, in the unit of its column.
func (k Kind) headline(s sample.Sample) float64 {
	switch k {
	case Idle:
		return s.RSSEach
	case Start:
		return s.P50 / 1000
	case Requests, Streams:
	}
	return s.CPU
}

// unit is the unit of the headline.
func (k Kind) unit() string {
	switch k {
	case Requests:
		return "CPU µs/request"
	case Streams:
		return "CPU µs/event"
	case Idle:
		return "KiB/stream"
	case Start:
		return "ms to first 200"
	}
	return ""
}

// Median is the middle of the values, or the mean of the two in the middle; NaN
// where there are none.
func Median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// of applies f to every sample.
func (r Row) of(f func(sample.Sample) float64) []float64 {
	values := make([]float64, 0, len(r.Samples))
	for _, s := range r.Samples {
		values = append(values, f(s.Sample))
	}
	return values
}

// median is the median of f over the rounds.
func (r Row) median(f func(sample.Sample) float64) float64 { return Median(r.of(f)) }

// errors counts the errors of all rounds.
func (r Row) errors() int64 {
	var n int64
	for _, s := range r.Samples {
		n += s.Errors
	}
	return n
}

// Row returns the row of a proxy.
func (w Workload) Row(proxy string) (Row, bool) {
	i := slices.IndexFunc(w.Rows, func(r Row) bool { return r.Proxy == proxy })
	if i < 0 {
		return Row{}, false
	}
	return w.Rows[i], true
}

// Add adds a sample of a proxy.
func (w *Workload) Add(proxy string, r Round) {
	i := slices.IndexFunc(w.Rows, func(r Row) bool { return r.Proxy == proxy })
	if i < 0 {
		w.Rows = append(w.Rows, Row{Proxy: proxy})
		i = len(w.Rows) - 1
	}
	w.Rows[i].Samples = append(w.Rows[i].Samples, r)
}

// Ratio is the median, over the rounds that both were measured in, of the
// proxy's headline to the reference's in the same round: what drifts over the
// rounds cancels out. It is NaN where there is no such round.
func (w Workload) Ratio(proxy, reference string) float64 {
	return w.ratio(proxy, reference, w.Kind.headline)
}

// ratio is [Workload.Ratio] of another figure.
func (w Workload) ratio(proxy, reference string, f func(sample.Sample) float64) float64 {
	mine, ok := w.Row(proxy)
	base, ok2 := w.Row(reference)
	if !ok || !ok2 {
		return math.NaN()
	}
	var ratios []float64
	for _, m := range mine.Samples {
		i := slices.IndexFunc(base.Samples, func(b Round) bool { return b.Round == m.Round })
		if i < 0 {
			continue
		}
		if b := f(base.Samples[i].Sample); b > 0 {
			ratios = append(ratios, f(m.Sample)/b)
		}
	}
	return Median(ratios)
}

// spread is the least and the greatest headline of a row.
func (w Workload) spread(r Row) (low, high float64) {
	values := r.of(w.Kind.headline)
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	return slices.Min(values), slices.Max(values)
}

// sorted puts the rows into the order of the proxies.
func (r *Report) sorted(w Workload) []Row {
	place := func(row Row) int {
		return slices.IndexFunc(r.Proxies, func(p Proxy) bool { return p.Name == row.Proxy })
	}
	return slices.SortedStableFunc(slices.Values(w.Rows), func(a, b Row) int { return cmp.Compare(place(a), place(b)) })
}
