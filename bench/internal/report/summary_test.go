package report

import (
	"math"
	"strings"
	"testing"
)

func wants(t *testing.T, page string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(page, want) {
			t.Errorf("it lacks %q:\n%s", want, page)
		}
	}
}

func TestGlanceHasEveryRatio(t *testing.T) {
	r := report()
	r.Workloads = append(r.Workloads, Workload{Name: "idle", Kind: Idle})
	r.Workloads[2].Add("airside", Round{RSSEach: 30})
	r.Workloads[2].Add("nginx", Round{RSSEach: 20})
	wants(t, r.Markdown(""), "## At a glance: × nginx\n\n|  | post | tls | idle |\n|---|---:|---:|---:|\n| nginx | 1.00 | – | 1.00 |\n| airside | 2.18 | – | 1.50 |\n")
	r.Reference = ""
	if got := r.Markdown(""); strings.Contains(got, "At a glance") {
		t.Errorf("without a reference:\n%s", got)
	}
}

func TestPromisesAreJudged(t *testing.T) {
	r := report()
	r.Promises = []Promise{
		{Workload: "post", Proxy: "airside", Measure: Ratio, Most: 2.2},
		{Workload: "post", Proxy: "airside", Measure: Latency, Most: 0.5},
		{Workload: "post", Proxy: "airside", Measure: Cost, Most: 21},
		{Workload: "post", Proxy: "nginx", Measure: Ratio, Most: 0.3, Against: "airside"},
		{Workload: "post", Proxy: "airside-std", Measure: Cost, Most: 1}, // not measured
		{Workload: "sse", Proxy: "airside", Measure: Cost, Most: 1},      // did not run
	}
	got := r.Markdown("")
	wants(t, got, "## Bars\n\n| workload | proxy | figure | at most | reached |  |\n",
		"| post | airside | CPU µs/request × nginx | 2.20 | 2.18 | kept |\n",
		"| post | airside | p99 × nginx | 0.50 | 1.00 | **missed** |\n",
		"| post | airside | CPU µs/request | 21.0 | 22.0 | **missed** |\n",
		"| post | nginx | CPU µs/request × airside | 0.30 | 0.46 | **missed** |\n")
	if strings.Contains(got, "airside-std") || strings.Contains(got, "| sse") {
		t.Errorf("what was not measured was judged:\n%s", got)
	}
}

// A figure with errors keeps no promise, and none is kept where there is nothing to compare with.
func TestPromisesAreNotJudgedByWorthlessFigures(t *testing.T) {
	for name, spoil := range map[string]func(*Report){
		"errors":               func(r *Report) { r.Workloads[0].Rows[0].Samples[1].Errors = 1 },
		"errors of nginx":      func(r *Report) { r.Workloads[0].Rows[1].Samples[1].Errors = 1 },
		"no nginx":             func(r *Report) { r.Workloads[0].Rows = r.Workloads[0].Rows[:1] },
		"nothing in that test": func(r *Report) { r.Workloads[0].Rows = nil },
	} {
		r := report()
		p := Promise{Workload: "post", Proxy: "airside", Measure: Ratio, Most: 2.2}
		if got := r.reached(p, r.Workloads[0]); math.IsNaN(got) {
			t.Fatalf("%s: nothing to spoil", name)
		}
		spoil(r)
		if got := r.reached(p, r.Workloads[0]); !math.IsNaN(got) {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestSecurityIsTold(t *testing.T) {
	r := report()
	agree := func(nginx, airside string) Workload {
		w := Workload{Name: "tls", Kind: Requests}
		w.Add("airside", Round{TLS: airside})
		w.Add("nginx", Round{TLS: nginx})
		return w
	}
	if got, want := r.security(agree("TLS 1.3, A", "TLS 1.3, A")), "All agreed on TLS 1.3, A."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := r.security(agree("B", "A")), "do not compare:** airside: A; nginx: B."; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.security(agree("", "")); got != "" {
		t.Errorf("in clear: got %q", got)
	}
}

func TestCallsAreGrouped(t *testing.T) {
	r := report()
	r.Calls = []Calls{{Workload: "post", Unit: "request", Rows: []CallsRow{
		{Proxy: "nginx", Units: 1000, Failed: 0.5, Each: map[string]float64{"recvfrom": 2, "writev": 1.5, "write": 0.5, "epoll_wait": 0.25, "brk": 0.1}},
	}}}
	wants(t, r.Markdown(""), "## System calls for each request: post\n\n|  | all | read | write | splice | poll | futex | other | failed | requests |\n",
		"| nginx | 4.35 | 2.00 | 2.00 | 0.00 | 0.25 | 0.00 | 0.10 | 0.50 | 1,000 |\n")
}
