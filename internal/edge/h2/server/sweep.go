package server

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

// A dateLine is the value of the header Date of one second, RFC 9110 section 6.6.1.
type dateLine struct {
	unix int64
	text string
}

func (c *clock) date() string {
	if l := c.line.Load(); l != nil {
		return l.text
	}
	return ""
}

func (c *clock) set(now time.Time) {
	if c.start.IsZero() {
		c.start = now
	}
	c.now.Store(max(int64(now.Sub(c.start)), 1))
	if l := c.line.Load(); l == nil || l.unix != now.Unix() {
		c.line.Store(&dateLine{unix: now.Unix(), text: now.UTC().Format(http.TimeFormat)})
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

// trimTime is how often workers are sent home.
const trimTime = 2 * time.Second

// sweep ends what takes longer than it may, on all connections, until there are none.
// One goroutine does it, so that a stream sets its deadlines by storing a number.
func (s *Server) sweep() {
	defer s.work.Done()
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	trimmed := int64(0)
	for {
		select {
		case <-ticker.C:
		case <-s.empty:
		}
		s.clock.set(time.Now())
		now := s.clock.now.Load()
		if now-trimmed > int64(trimTime) {
			trimmed = now
			s.crew.trim()
		}
		s.mu.Lock()
		for c := range s.conns {
			c.expire(now)
		}
		if len(s.conns) == 0 {
			s.sweeping = false
			s.crew.close()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// past is a deadline that has been missed: set, it ends what is under way.
var past = time.Unix(1, 0)

// expire ends what c has taken too long for.
func (c *conn) expire(now int64) {
	if d := c.writeBy.Load(); d > 0 && d < now {
		_ = c.nc.SetWriteDeadline(past) // it is closed if it cannot be set
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.waiting {
		if st.writeBy > 0 && st.writeBy < now {
			st.late = true
			st.wakeWriter()
		}
	}
	switch {
	case c.closeBy > 0 && c.closeBy < now:
		_ = c.raw.SetReadDeadline(past) // the reader ends, or has ended
	case c.lastBy > 0 && c.lastBy < now:
		c.lastCall()
	case c.over:
	case len(c.streams) == 0 && c.idleBy > 0 && c.idleBy < now:
		c.lastCall()
	default:
		c.probe(now)
	}
}

// probe asks a client that has been silent for long, and has streams open, for a sign
// of life, and ends the connection if none comes.
func (c *conn) probe(now int64) {
	s := c.server
	heard := c.heard.Load()
	switch {
	case s.PingAfter <= 0:
	case c.probed > heard:
		if now-c.probed > int64(s.PingTimeout) {
			_ = c.raw.Close() // the reader sees it
		}
	case now-heard > int64(s.PingAfter):
		c.probed = now
		c.out = appendPing(c.room(), 0, probePing)
		c.send()
	}
}
