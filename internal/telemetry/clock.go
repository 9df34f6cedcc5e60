package telemetry

import (
	"sync/atomic"
	"time"
)

// A clock writes times, and remembers the second it wrote last: most lines of a busy
// log are of the same one. The zero clock is ready, and safe for concurrent use.
type clock struct{ last atomic.Pointer[second] }

// A second is what a time of it is written with.
type second struct {
	unix        int64
	zone        *time.Location
	begin, tail string // what stands before and behind the fraction
}

// append writes t as [appendTime] does.
func (c *clock) append(b []byte, t time.Time) []byte {
	s, zone := c.last.Load(), t.Location()
	if unix := t.Unix(); s == nil || s.unix != unix || s.zone != zone {
		if y := t.Year(); y < 0 || y >= 10000 {
			return appendTime(b, t)
		}
		s = &second{unix: unix, zone: zone, begin: t.Format(`"2006-01-02T15:04:05`), tail: t.Format(`Z07:00"`)}
		c.last.Store(s)
	}
	b = append(b, s.begin...)
	b = appendFraction(b, t.Nanosecond(), 1e8)
	return append(b, s.tail...)
}
