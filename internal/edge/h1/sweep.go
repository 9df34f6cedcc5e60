package h1

import "time"

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
		s.clock.Set(time.Now())
		now := s.clock.Now()
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
