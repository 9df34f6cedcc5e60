package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside/bench/internal/sample"
)

// A column is a heading and what stands below it.
type column struct {
	title string
	cell  func(Row) string
}

// Markdown writes the report as a page. Chart is the address of its picture;
// empty: none.
func (r *Report) Markdown(chart string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark of %s\n\n", r.Date)
	fmt.Fprintf(&b, "%s, %d processors, Linux %s, %s. The proxy has processor %d to itself, load and agent share processor %d; loopback only.\n",
		r.Machine.Processor, r.Machine.Processors, r.Machine.Kernel, r.Machine.Go, r.Machine.ProxyCPU, r.Machine.LoadCPU)
	fmt.Fprintf(&b, "Medians of %s of %g s, interleaved; processor time from the kernel's clock of each process.", count(r.Rounds, "round"), r.Seconds)
	if r.Reference != "" {
		fmt.Fprintf(&b, " × is the median ratio to %s in the same round.", r.Reference)
	}
	b.WriteString(" How to read it: bench/README.md.\n\n")
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "**Missing: %s**\n\n", m)
	}
	if chart != "" {
		fmt.Fprintf(&b, "![What each costs](%s)\n\n", chart)
	}
	r.glance(&b)
	r.promised(&b)
	for _, w := range r.Workloads {
		r.section(&b, w)
	}
	r.calls(&b)
	b.WriteString("## What was measured\n\n")
	writeTable(&b, 3, []string{"", "version", "what it is", "binary MiB"}, len(r.Proxies), func(i int) []string {
		p := r.Proxies[i]
		return []string{p.Name, p.Version, p.About, number(float64(p.Bytes) / (1 << 20))}
	})
	return b.String()
}

func (r *Report) section(b *strings.Builder, w Workload) {
	rows := r.sorted(w)
	fmt.Fprintf(b, "## %s\n\n", w.Title)
	if len(rows) == 0 {
		b.WriteString("Nothing was measured.\n\n")
		return
	}
	if told := r.security(w); told != "" {
		fmt.Fprintf(b, "%s\n\n", told)
	}
	columns := r.columns(w)
	titles := []string{""}
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	writeTable(b, 1, titles, len(rows), func(i int) []string {
		cells := []string{rows[i].Proxy}
		for _, c := range columns {
			cells = append(cells, c.cell(rows[i]))
		}
		return cells
	})
}

// columns are the figures that a kind of workload is told by.
func (r *Report) columns(w Workload) []column {
	figure := func(title string, f func(sample.Sample) float64) column {
		return column{title, func(row Row) string { return number(row.median(f)) }}
	}
	mebibytes := func(s sample.Sample) float64 { return float64(s.RSS) / 1024 }
	list := []column{
		figure(w.Kind.unit(), w.Kind.headline),
		{"least – most", func(row Row) string {
			low, high := w.spread(row)
			return number(low) + " – " + number(high)
		}},
	}
	if r.Reference != "" {
		list = append(list, column{"× " + r.Reference, func(row Row) string { return ratio(w.Ratio(row.Proxy, r.Reference)) }})
	}
	switch w.Kind {
	case Requests, Streams:
		rate, latency := "requests/s", "p50 µs"
		if w.Kind == Streams {
			rate, latency = "events/s", "first event p50 µs"
		}
		list = append(
			list,
			figure(rate, func(s sample.Sample) float64 { return s.Rate }),
			figure(latency, func(s sample.Sample) float64 { return measured(s.P50) }),
			figure("p99 µs", func(s sample.Sample) float64 { return measured(s.P99) }),
			figure("p99.9 µs", func(s sample.Sample) float64 { return measured(s.P999) }),
		)
		if r.Reference != "" && w.Kind == Requests {
			list = append(list, column{"p99 × " + r.Reference, func(row Row) string { return ratio(w.ratio(row.Proxy, r.Reference, p99)) }})
		}
		list = append(list, figure("RSS MiB", mebibytes))
	case Idle:
		list = append(
			list,
			figure("PSS KiB/stream", func(s sample.Sample) float64 { return s.PSSEach }),
			figure("streams", func(s sample.Sample) float64 { return float64(s.Units) }),
			figure("RSS MiB", mebibytes),
		)
	case Start:
		list = append(list, figure("idle RSS MiB", mebibytes))
	}
	return append(list, column{"errors", func(row Row) string { return strconv.FormatInt(row.errors(), 10) }})
}

func p99(s sample.Sample) float64 { return s.P99 }

// measured makes no number of a latency that nothing was measured of, as when no
// stream began meanwhile.
func measured(us float64) float64 {
	if us == 0 {
		return math.NaN()
	}
	return us
}

// writeTable writes a table whose first columns are text and whose others are figures.
func writeTable(b *strings.Builder, texts int, titles []string, rows int, cells func(int) []string) {
	fmt.Fprintf(b, "| %s |\n|%s%s\n", strings.Join(titles, " | "), strings.Repeat("---|", texts), strings.Repeat("---:|", len(titles)-texts))
	for i := range rows {
		line := cells(i)
		for j := range line {
			line[j] = strings.ReplaceAll(line[j], "|", `\|`)
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(line, " | "))
	}
	b.WriteByte('\n')
}

// number writes v with three digits that count, and thousands apart.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case math.Round(a) >= 1000:
		return thousands(int64(math.Round(v)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ratio(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
