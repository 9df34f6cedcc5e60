package h1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A clock is the time as it was at the last tick: precise enough for time-outs, and
// free. It counts from the server's first connection.
type clock struct {
	start time.Time
	now   atomic.Int64 // nanoseconds after start, at least 1
	line  atomic.Pointer[dateLine]
}

// A dateLine is the header Date of one second, RFC 9110 section 6.6.1.
type dateLine struct {
	unix int64
	text []byte
}

// date returns the line.
func (c *clock) date() []byte {
	if l := c.line.Load(); l != nil {
		return l.text
	}
	return nil
}

func (c *clock) set(now time.Time) {
	if c.start.IsZero() {
		c.start = now
	}
	c.now.Store(max(int64(now.Sub(c.start)), 1))
	if l := c.line.Load(); l == nil || l.unix != now.Unix() {
		text := now.UTC().AppendFormat([]byte("Date: "), http.TimeFormat)
		c.line.Store(&dateLine{unix: now.Unix(), text: append(text, "\r\n"...)})
	}
}

// after is the time that lies d ahead, rounded up to a tick; 0, which is never, for 0.
func (c *clock) after(d, tick time.Duration) int64 {
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

// tickFor is how often deadlines are looked at: a twentieth of the shortest.
func tickFor(limits ...time.Duration) time.Duration {
	tick := maxTick
	for _, l := range limits {
		if l > 0 {
			tick = min(tick, l/20)
		}
	}
	return max(tick, minTick)
}

// sweep ends what takes longer than it may, on all connections, until there are none.
// One goroutine does it, so that an exchange sets its deadlines by storing a number.
func (s *Server) sweep() {
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.empty:
		}
		s.clock.set(time.Now())
		now := s.clock.now.Load()
		s.mu.Lock()
		for c := range s.conns {
			c.expire(now)
		}
		if len(s.conns) == 0 {
			s.sweeping = false
			s.done()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// past is a deadline that has been missed: set, it ends what is under way.
var past = time.Unix(1, 0)

// expire ends the stage that c is in if its time is over.
func (c *conn) expire(now int64) {
	if d := c.readBy.Load(); d > 0 && d < now {
		c.mu.Lock()
		if c.readBy.CompareAndSwap(d, expired) {
			_ = c.nc.SetReadDeadline(past) // it is closed if it cannot be set
		}
		c.mu.Unlock()
	}
	if d := c.writeBy.Load(); d > 0 && d < now && c.writeBy.CompareAndSwap(d, expired) {
		_ = c.nc.SetWriteDeadline(past) // as above
	}
}

// expired in the place of a deadline says that it was missed.
const expired = -1
