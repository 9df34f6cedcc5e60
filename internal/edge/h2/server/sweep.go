package server

import "time"

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
		s.clock.Set(time.Now())
		now := s.clock.Now()
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
