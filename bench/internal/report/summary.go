package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// glance writes a table of the ratios of all workloads.
func (r *Report) glance(b *strings.Builder) {
	if r.Reference == "" || len(r.Workloads) < 2 {
		return
	}
	fmt.Fprintf(b, "## At a glance: × %s\n\n", r.Reference)
	titles := []string{""}
	for _, w := range r.Workloads {
		titles = append(titles, w.Name)
	}
	writeTable(b, 1, titles, len(r.Proxies), func(i int) []string {
		cells := []string{r.Proxies[i].Name}
		for _, w := range r.Workloads {
			cells = append(cells, ratio(w.Ratio(r.Proxies[i].Name, r.Reference)))
		}
		return cells
	})
}

// A Promise is a figure that is not to be exceeded. It is judged if its workload
// and its proxy were measured, and nobody's errors make the figure worth nothing.
type Promise struct {
	Workload string  `json:"workload"`
	Proxy    string  `json:"proxy"`
	Measure  Measure `json:"measure"`
	Most     float64 `json:"most"`
	Against  string  `json:"against,omitempty"` // what a ratio is to; empty is nginx
}

// A Measure is what a promise is about.
type Measure string

// The measures.
const (
	Cost    Measure = "cost"    // the headline of the workload
	Ratio   Measure = "ratio"   // the headline, divided by the reference's
	Latency Measure = "latency" // p99, divided by the reference's
)

// title says what a measure is, of the workload w.
func (m Measure) title(w Workload, reference string) string {
	switch m {
	case Ratio:
		return w.Kind.unit() + " × " + reference
	case Latency:
		return "p99 × " + reference
	case Cost:
	}
	return w.Kind.unit()
}

// promised writes a table of the promises that can be judged.
func (r *Report) promised(b *strings.Builder) {
	var rows [][]string
	for _, p := range r.Promises {
		i := slices.IndexFunc(r.Workloads, func(w Workload) bool { return w.Name == p.Workload })
		if i < 0 {
			continue
		}
		got := r.reached(p, r.Workloads[i])
		if math.IsNaN(got) {
			continue
		}
		verdict := "kept"
		if got > p.Most {
			verdict = "**missed**"
		}
		rows = append(rows, []string{p.Workload, p.Proxy, p.Measure.title(r.Workloads[i], p.against()), number(p.Most), number(got), verdict})
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("## Bars\n\n")
	writeTable(b, 3, []string{"workload", "proxy", "figure", "at most", "reached", ""}, len(rows), func(i int) []string { return rows[i] })
}

// against is what a promise compares with.
func (p *Promise) against() string { return cmp.Or(p.Against, "nginx") }

// reached is the figure that p is about; NaN where it was not measured, or what it
// compares with was not.
func (r *Report) reached(p Promise, w Workload) float64 {
	row, ok := w.Row(p.Proxy)
	base, compares := w.Row(p.against())
	if !ok || row.errors() > 0 || p.Measure != Cost && (!compares || base.errors() > 0) {
		return math.NaN()
	}
	switch p.Measure {
	case Ratio:
		return w.Ratio(p.Proxy, p.against())
	case Latency:
		return w.ratio(p.Proxy, p.against(), p99)
	case Cost:
	}
	return row.median(w.Kind.headline)
}

// security says what the proxies agreed on with the load generator, which compares
// only if it is the same.
func (r *Report) security(w Workload) string {
	agreed := map[string][]string{}
	for _, row := range r.sorted(w) {
		for _, s := range row.Samples {
			if s.TLS != "" && !slices.Contains(agreed[s.TLS], row.Proxy) {
				agreed[s.TLS] = append(agreed[s.TLS], row.Proxy)
			}
		}
	}
	var all []string
	for suite := range agreed {
		all = append(all, suite)
	}
	slices.Sort(all)
	switch len(all) {
	case 0:
		return ""
	case 1:
		return "All agreed on " + all[0] + "."
	}
	for i, suite := range all {
		all[i] = strings.Join(agreed[suite], ", ") + ": " + suite
	}
	return "**They agreed on different things, and do not compare:** " + strings.Join(all, "; ") + "."
}

// Calls is how many system calls the proxies made under a workload.
type Calls struct {
	Workload string     `json:"workload"`
	Unit     string     `json:"unit"` // what they are counted for
	Rows     []CallsRow `json:"rows"`
}

// A CallsRow is the system calls of one proxy, for each unit.
type CallsRow struct {
	Proxy  string             `json:"proxy"`
	Units  int64              `json:"units"`
	Each   map[string]float64 `json:"each"`   // by the name of the call
	Failed float64            `json:"failed"` // of all, those that returned an error, EAGAIN for one
}

// families are the calls that have a column of their own.
var families = []struct {
	title string
	calls []string
}{
	{"read", []string{"read", "readv", "recvfrom", "recvmsg", "pread64"}},
	{"write", []string{"write", "writev", "sendto", "sendmsg", "sendfile", "pwrite64"}},
	{"splice", []string{"splice", "tee"}},
	{"poll", []string{"epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "ppoll"}},
	{"futex", []string{"futex"}},
}

// calls writes a table for each workload that the system calls were counted of.
func (r *Report) calls(b *strings.Builder) {
	for _, c := range r.Calls {
		fmt.Fprintf(b, "## System calls for each %s: %s\n\n", c.Unit, c.Workload)
		titles := []string{"", "all"}
		for _, f := range families {
			titles = append(titles, f.title)
		}
		titles = append(titles, "other", "failed", c.Unit+"s")
		writeTable(b, 1, titles, len(c.Rows), func(i int) []string { return c.Rows[i].cells() })
	}
}

func (c CallsRow) cells() []string {
	all := 0.0
	for _, n := range c.Each {
		all += n
	}
	cells, rest := []string{c.Proxy, number(all)}, all
	for _, f := range families {
		sum := 0.0
		for _, name := range f.calls {
			sum += c.Each[name]
		}
		cells, rest = append(cells, number(sum)), rest-sum
	}
	return append(cells, number(max(rest, 0)), number(c.Failed), number(float64(c.Units)))
}
