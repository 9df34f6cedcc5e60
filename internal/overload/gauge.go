package overload

import (
	"math"
	"runtime/metrics"
	"time"
)

// A Reading is how the process stands.
type Reading struct {
	Memory uint64        // bytes that the process uses and that a collection would not give back
	Limit  uint64        // bytes that it may use; 0 if there is no limit
	Wait   time.Duration // of goroutines for a processor: half of them waited longer, within the last half second
}

// What the runtime tells, in the order in which it is asked.
const (
	total = iota
	released
	unused
	free
	objects
	live
	limit
	waits
	asked
)

var names = [asked]string{
	total:    "/memory/classes/total:bytes",
	released: "/memory/classes/heap/released:bytes",
	unused:   "/memory/classes/heap/unused:bytes",
	free:     "/memory/classes/heap/free:bytes",
	objects:  "/memory/classes/heap/objects:bytes",
	live:     "/gc/heap/live:bytes",
	limit:    "/gc/gomemlimit:bytes",
	waits:    "/sched/latencies:seconds",
}

// span is over how many looks the wait is taken, least the waits that make one.
const (
	span  = 5
	least = 50
)

// A gauge asks the runtime. It belongs to one goroutine.
type gauge struct {
	samples [asked]metrics.Sample
	past    [span][]uint64 // counts of waits, the oldest at next
	next    int
}

func newGauge() *gauge {
	g := &gauge{}
	for i, name := range names {
		g.samples[i].Name = name
	}
	return g
}

// read looks once.
func (g *gauge) read() Reading {
	metrics.Read(g.samples[:])
	r := Reading{Memory: g.memory(), Limit: g.bytes(limit)}
	if r.Limit >= math.MaxInt64 { // the runtime's word for none
		r.Limit = 0
	}
	if v := g.samples[waits].Value; v.Kind() == metrics.KindFloat64Histogram {
		r.Wait = g.wait(v.Float64Histogram())
	}
	return r
}

// memory leaves out what the runtime keeps for later, and garbage: near its limit the
// runtime collects often, and what is live then is what was live a moment ago.
func (g *gauge) memory() uint64 {
	used := g.bytes(total)
	for _, less := range []uint64{g.bytes(released), g.bytes(unused), g.bytes(free), g.garbage()} {
		used -= min(less, used)
	}
	return used
}

// garbage is what came together since the last collection, whether it is used or not.
func (g *gauge) garbage() uint64 {
	all, kept := g.bytes(objects), g.bytes(live)
	if kept == 0 { // there was no collection yet
		return 0
	}
	return all - min(kept, all)
}

func (g *gauge) bytes(i int) uint64 {
	if v := g.samples[i].Value; v.Kind() == metrics.KindUint64 {
		return v.Uint64()
	}
	return 0
}

// wait is the median of what was added to h within the last looks. The buckets of the
// runtime only grow.
func (g *gauge) wait(h *metrics.Float64Histogram) time.Duration {
	old := g.past[g.next]
	sum := uint64(0)
	for i, n := range h.Counts {
		sum += n - count(old, i)
	}
	median := 0.0
	if old != nil && sum >= least {
		seen := uint64(0)
		for i, n := range h.Counts {
			if seen += n - count(old, i); 2*seen > sum {
				median = h.Buckets[i] // the lower bound: no more than it was
				break
			}
		}
	}
	g.past[g.next] = append(old[:0], h.Counts...)
	g.next = (g.next + 1) % span
	return time.Duration(max(median, 0) * float64(time.Second))
}

func count(counts []uint64, i int) uint64 {
	if i < len(counts) {
		return counts[i]
	}
	return 0
}
