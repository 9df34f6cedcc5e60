package metrics

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// A reading is a number of the runtime under the name that Prometheus's own client for Go
// gives to it, which dashboards know.
type reading struct {
	name   string
	kind   Kind
	help   string
	source string // of package runtime/metrics
}

var readings = [...]reading{
	{"go_goroutines", Gauge, "Goroutines that exist.", "/sched/goroutines:goroutines"},
	{"go_sched_gomaxprocs_threads", Gauge, "Threads that may run Go code at the same time (GOMAXPROCS).", "/sched/gomaxprocs:threads"},
	{"go_gc_gogc_percent", Gauge, "How much the heap may grow before it is collected (GOGC).", "/gc/gogc:percent"},
	{"go_gc_gomemlimit_bytes", Gauge, "The soft limit of memory (GOMEMLIMIT).", "/gc/gomemlimit:bytes"},
	{"go_gc_cycles_total_gc_cycles_total", Counter, "Garbage collections.", "/gc/cycles/total:gc-cycles"},
	{"go_sync_mutex_wait_total_seconds_total", Counter, "Time that goroutines have waited for locks, all together.", "/sync/mutex/wait/total:seconds"},
	{"go_memstats_alloc_bytes", Gauge, "Bytes of the heap that are in use.", "/memory/classes/heap/objects:bytes"},
	{"go_memstats_alloc_bytes_total", Counter, "Bytes that were allocated, those that are free again included.", "/gc/heap/allocs:bytes"},
	{"go_memstats_mallocs_total", Counter, "Objects that were allocated.", "/gc/heap/allocs:objects"},
	{"go_memstats_frees_total", Counter, "Objects that were freed.", "/gc/heap/frees:objects"},
	{"go_memstats_heap_objects", Gauge, "Objects on the heap.", "/gc/heap/objects:objects"},
	{"go_memstats_heap_released_bytes", Gauge, "Bytes of the heap that were given back to the system.", "/memory/classes/heap/released:bytes"},
	{"go_memstats_next_gc_bytes", Gauge, "Size of the heap at which the next collection ends.", "/gc/heap/goal:bytes"},
	{"go_memstats_stack_inuse_bytes", Gauge, "Bytes of stacks.", "/memory/classes/heap/stacks:bytes"},
	{"go_memstats_sys_bytes", Gauge, "Bytes that the runtime has from the system.", "/memory/classes/total:bytes"},
}

func goDescriptions() []Description {
	out := []Description{
		{"go_info", Gauge, []string{"version"}, "1, with the version of Go."},
		{"go_threads", Gauge, nil, "Threads that the runtime has made."},
		{"go_gc_duration_seconds", Summary, nil, "How long collections of the last time have stopped the program."},
		{"go_memstats_last_gc_time_seconds", Gauge, nil, "When the last collection ended, in seconds since 1970."},
	}
	for _, r := range &readings {
		out = append(out, Description{r.name, r.kind, nil, r.help})
	}
	return out
}

// goRuntime asks the runtime. None of it stops the program.
func goRuntime(g *gathering) {
	samples := make([]metrics.Sample, len(readings))
	for i := range samples {
		samples[i].Name = readings[i].source
	}
	metrics.Read(samples)
	for i, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			g.set(readings[i].name, float64(s.Value.Uint64()))
		case metrics.KindFloat64:
			g.set(readings[i].name, s.Value.Float64())
		default: // a later Go does not have it any more
		}
	}
	g.set("go_info", 1, runtime.Version())
	g.set("go_threads", float64(pprof.Lookup("threadcreate").Count()))
	collections(g)
}

// collections tells of the pauses for garbage collection.
func collections(g *gathering) {
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 5)}
	debug.ReadGCStats(&stats)
	s := &dto.Summary{SampleCount: new(uint64(max(stats.NumGC, 0))), SampleSum: new(stats.PauseTotal.Seconds())}
	for i, q := range stats.PauseQuantiles {
		s.Quantile = append(s.Quantile, &dto.Quantile{Quantile: new(float64(i) / 4), Value: new(q.Seconds())})
	}
	g.add("go_gc_duration_seconds", nil).Summary = s
	last := 0.0
	if !stats.LastGC.IsZero() {
		last = float64(stats.LastGC.UnixMilli()) / 1e3
	}
	g.set("go_memstats_last_gc_time_seconds", last)
}

// number reads a number out of a file of the system; 0 if it is none.
func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return n
}
