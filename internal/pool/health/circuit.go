package health

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// A phase is where a circuit stands.
type phase uint8

const (
	closed   phase = iota // everything goes through
	open                  // nothing does
	halfOpen              // a few try
)

// A rule is what ejection and breaker have in common.
type rule struct {
	on       []Cause
	errors   int // 0: they are not counted
	of       int // 0: in a row
	halfOpen int
	rest     time.Duration
	maxRest  time.Duration
}

// A circuit counts the failures of one host by a rule, and puts it aside. A circuit
// without a rule stays closed. All but streak is guarded by the mutex of the group.
type circuit struct {
	rule   *rule // nil: not configured
	streak atomic.Uint32

	phase phase
	marks []uint64      // with of: the ordinals of the last failures, a ring
	next  int           // in marks
	until time.Time     // when open ends; when a trial that nobody ended begins anew
	since time.Time     // when it was opened or closed last
	rest  time.Duration // how long it was opened the last time
	again int           // how often in a row
	wins  int           // of the trial
	why   string
}

// failed counts a failure, the n-th exchange that says something, and returns why that
// was one too many, or nothing.
func (c *circuit) failed(n uint64, r Result) string {
	streak := c.streak.Add(1)
	switch {
	case c.rule.errors == 0:
		return ""
	case c.rule.of == 0:
		if int(streak) < c.rule.errors {
			return ""
		}
		return fmt.Sprintf("%s in a row, the last: %s", failures(int(streak)), r.why())
	}
	if c.marks == nil {
		c.marks = make([]uint64, c.rule.errors)
	}
	c.marks[c.next] = n
	c.next = (c.next + 1) % len(c.marks)
	oldest := c.marks[c.next]
	if oldest == 0 || n-oldest >= uint64(c.rule.of) { //nolint:gosec // it is not negative
		return ""
	}
	return fmt.Sprintf("%s in the last %d exchanges, the last: %s", failures(c.rule.errors), c.rule.of, r.why())
}

func failures(n int) string {
	if n == 1 {
		return "1 failure"
	}
	return fmt.Sprintf("%d failures", n)
}

// open puts the host aside. The time grows while it does not last.
func (c *circuit) open(now time.Time, why string) {
	if c.phase == closed && now.Sub(c.since) >= max(c.rest, c.rule.rest) {
		c.again = 0 // it was well for longer than it was aside
	}
	c.again++
	c.rest = c.rule.maxRest
	if int64(c.rule.maxRest/c.rule.rest) >= int64(c.again) {
		c.rest = c.rule.rest * time.Duration(c.again)
	}
	c.phase, c.why, c.since, c.until = open, why, now, now.Add(c.rest)
}

// try begins a trial, or begins it anew: exchanges that do not end must not keep a host
// aside for ever.
func (c *circuit) try(now time.Time) {
	c.phase, c.wins, c.until = halfOpen, 0, now.Add(c.rule.rest)
}

// close takes the host back.
func (c *circuit) close(now time.Time) {
	c.phase, c.since, c.next, c.why = closed, now, 0, ""
	c.streak.Store(0)
	clear(c.marks)
}

// tried counts the verdict of a trial, and reports whether c has come into another
// phase.
func (c *circuit) tried(v verdict, now time.Time, r Result) bool {
	if c.rule == nil || c.phase != halfOpen || v == neutral {
		return false
	}
	if v == bad {
		c.open(now, "tried again, and failed: "+r.why())
		return true
	}
	if c.wins++; c.wins < c.rule.halfOpen {
		return false
	}
	c.close(now)
	return true
}

// buckets is into how many parts the time of a window is divided.
const buckets = 10

// A window counts failures over a time that slides along. The successes are counted by
// the host; what they were when a part began is noted here. It is guarded by the mutex
// of the group.
type window struct {
	failed [buckets]uint64
	begin  [buckets]uint64
	at     int
}

// slide begins another part of the time. Ended is how many exchanges ended before.
func (w *window) slide(ended uint64) {
	w.at = (w.at + 1) % buckets
	w.failed[w.at], w.begin[w.at] = 0, ended
}

// sum is how many exchanges failed, and how many ended at all.
func (w *window) sum(ended uint64) (failed, all uint64) {
	for _, n := range w.failed {
		failed += n
	}
	return failed, ended - w.begin[(w.at+1)%buckets]
}

// forget begins anew.
func (w *window) forget(ended uint64) {
	*w = window{}
	for i := range w.begin {
		w.begin[i] = ended
	}
}

// slowest finds the index of the latency that is furthest above factor times the median
// of the others, and that median; -1 if there is none. Latencies that are not known are
// 0 and do not count.
func slowest(latencies []time.Duration, factor float64) (worst int, median time.Duration) {
	known := slices.DeleteFunc(slices.Clone(latencies), func(d time.Duration) bool { return d <= 0 })
	if len(known) < 2 {
		return -1, 0
	}
	slices.Sort(known)
	others := known[:len(known)-1] // the slowest is the one that is judged
	top := known[len(known)-1]
	median = others[len(others)/2]
	if len(others)%2 == 0 {
		median = (others[len(others)/2-1] + median) / 2
	}
	if float64(top) < factor*float64(median) || top-median < latencyFloor {
		return -1, 0
	}
	return slices.Index(latencies, top), median
}

// latencyFloor is by how much an answer must be slower than others to be called slow.
const latencyFloor = 10 * time.Millisecond
