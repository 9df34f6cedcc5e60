package report

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/bench/internal/sample"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		in := append([]float64(nil), tt.in...)
		if got := Median(in); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.in, got, tt.want)
		}
		if diff := cmp.Diff(tt.in, in); diff != "" {
			t.Errorf("the values were moved\n%s", diff)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v, want NaN", got)
	}
}

func workload(kind Kind, values map[string][]float64, order ...string) Workload {
	w := Workload{Name: "post", Title: "POST <1 KiB>", Kind: kind}
	for _, name := range order {
		for i, v := range values[name] {
			if math.IsNaN(v) {
				continue // not measured in that round
			}
			s := sample.Sample{CPU: v, RSSEach: v, P50: v * 1000, P99: 2000, Rate: 61234.5, RSS: 2048, Units: 7}
			w.Add(name, Round{Round: i, Sample: s})
		}
	}
	return w
}

// A drift that hits all proxies of a round alike does not show in the ratio.
func TestRatioIsTakenWithinTheRound(t *testing.T) {
	for _, kind := range []Kind{Requests, Streams, Idle, Start} {
		w := workload(kind, map[string][]float64{"nginx": {10, 20, 40}, "airside": {11, 22, 44}}, "nginx", "airside")
		if got := w.Ratio("airside", "nginx"); math.Abs(got-1.1) > 1e-9 {
			t.Errorf("%s: got %v, want 1.1", kind, got)
		}
	}
	w := workload(Requests, map[string][]float64{"nginx": {10, math.NaN(), 0}, "airside": {30, 99, 5}}, "nginx", "airside")
	if got := w.Ratio("airside", "nginx"); got != 3 {
		t.Errorf("rounds without a reference: got %v, want 3", got)
	}
	if got := w.Ratio("airside", "haproxy"); !math.IsNaN(got) {
		t.Errorf("without any: got %v, want NaN", got)
	}
}

func report() *Report {
	return &Report{
		Date: "2026-11-22", Rounds: 3, Seconds: 5, Reference: "nginx",
		Machine: Machine{Processor: "A Processor", Processors: 2, Kernel: "6.1", Go: "go1.27", ProxyCPU: 1},
		Missing: []string{"haproxy is not installed (apt-get install haproxy)"},
		Proxies: []Proxy{{Name: "nginx", Version: "1.22", About: "a|b", Bytes: 1 << 20}, {Name: "airside", Version: "devel", About: "ours", Bytes: 20 << 20}},
		Workloads: []Workload{
			workload(Requests, map[string][]float64{"nginx": {10, 12, 11}, "airside": {22, 20, 24}}, "airside", "nginx"),
			{Name: "tls", Title: "TLS", Kind: Requests},
		},
	}
}

func TestMarkdown(t *testing.T) {
	got := report().Markdown("x.svg")
	for _, want := range []string{
		"# Benchmark of 2026-11-22\n",
		"Medians of 3 rounds of 5 s",
		"**Missing: haproxy is not installed (apt-get install haproxy)**",
		"![What each costs](x.svg)",
		"|  | CPU µs/request | least – most | × nginx | requests/s | p50 µs | p99 µs | p99.9 µs | p99 × nginx | RSS MiB | errors |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n" +
			"| nginx | 11.0 | 10.0 – 12.0 | 1.00 | 61,235 | 11,000 | 2,000 | – | 1.00 | 2.00 | 0 |\n" +
			"| airside | 22.0 | 20.0 – 24.0 | 2.18 | 61,235 | 22,000 | 2,000 | – | 1.00 | 2.00 | 0 |\n",
		"## TLS\n\nNothing was measured.\n",
		`| nginx | 1.22 | a\|b | 1.00 |`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	for _, kind := range []Kind{Streams, Idle, Start} {
		r := report()
		r.Reference = ""
		r.Workloads = []Workload{workload(kind, map[string][]float64{"airside": {1}}, "airside")}
		if got := r.Markdown(""); !strings.Contains(got, kind.unit()) || strings.Contains(got, "×") || strings.Contains(got, "![") {
			t.Errorf("%s:\n%s", kind, got)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		in   float64
		want string
	}{
		{0, "0.00"}, {1.234, "1.23"}, {15.16, "15.2"}, {151.6, "152"}, {999.9, "1,000"}, {1000, "1,000"}, {1234567.8, "1,234,568"}, {-1234567, "-1,234,567"}, {-123, "-123"}, {math.NaN(), "–"}, {math.Inf(1), "–"},
	} {
		if got := number(tt.in); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.in, got, tt.want)
		}
	}
}
