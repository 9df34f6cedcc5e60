// Package clock is the time that the server engines of the edge set their deadlines by.
// One goroutine of an engine sets it, so that an exchange reads it for nothing.
package clock

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A Clock is the time as it was at the last tick: precise enough for time-outs. It
// counts from when it was first set. The zero Clock has not been set.
type Clock struct {
	start time.Time
	now   atomic.Int64 // nanoseconds after start, at least 1
	date  atomic.Pointer[date]
}

// A date is the value of the header Date of one second, RFC 9110 section 6.6.1.
type date struct {
	unix int64
	text string
}

// Set sets the clock. Only one goroutine may do so at a time.
func (c *Clock) Set(now time.Time) {
	if c.start.IsZero() {
		c.start = now
	}
	c.now.Store(max(int64(now.Sub(c.start)), 1))
	if d := c.date.Load(); d == nil || d.unix != now.Unix() {
		c.date.Store(&date{unix: now.Unix(), text: now.UTC().Format(http.TimeFormat)})
	}
}

// Now is the time in nanoseconds, at least 1 once the clock has been set.
func (c *Clock) Now() int64 { return c.now.Load() }

// Date is the value of the header Date; empty before the clock has been set.
func (c *Clock) Date() string {
	if d := c.date.Load(); d != nil {
		return d.text
	}
	return ""
}

// After is the time that lies d ahead, rounded up to a tick; 0, which is never, for 0.
func (c *Clock) After(d, tick time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return c.now.Load() + int64(d+tick)
}

// Bounds of the tick.
const (
	minTick = 5 * time.Millisecond
	maxTick = 200 * time.Millisecond
)

// Tick is how often a clock is set for these limits, of which 0 means none: a twentieth
// of the shortest.
func Tick(limits ...time.Duration) time.Duration {
	tick := maxTick
	for _, l := range limits {
		if l > 0 {
			tick = min(tick, l/20)
		}
	}
	return max(tick, minTick)
}
