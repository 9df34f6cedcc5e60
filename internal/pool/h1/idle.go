package h1

import (
	"sync"
	"time"
)

// idle is the connections that are not in use, the one used last on top. One timer
// serves all of them, and only while there are any.
type idle struct {
	max   int
	limit time.Duration // 0: for ever

	mu    sync.Mutex // guards what follows
	conns []*conn    // by the time they were put here
	timer *time.Timer
	armed bool
	over  bool
}

// take takes the connection that was used last; nil if there is none.
func (s *idle) take() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.conns)
	if n == 0 {
		return nil
	}
	k := s.conns[n-1]
	s.conns[n-1] = nil
	s.conns = s.conns[:n-1]
	return k
}

// put keeps k, or closes it if there are enough.
func (s *idle) put(k *conn) {
	k.since = time.Now()
	s.mu.Lock()
	if s.over || len(s.conns) >= s.max {
		s.mu.Unlock()
		k.close()
		return
	}
	s.conns = append(s.conns, k)
	if s.limit > 0 && !s.armed {
		s.armLocked(s.limit)
	}
	s.mu.Unlock()
}

func (s *idle) armLocked(d time.Duration) {
	s.armed = true
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.sweep)
		return
	}
	s.timer.Reset(d)
}

// sweep closes what has been idle for too long.
func (s *idle) sweep() {
	now := time.Now()
	s.mu.Lock()
	n := 0
	for n < len(s.conns) && now.Sub(s.conns[n].since) >= s.limit {
		n++
	}
	old := make([]*conn, n)
	copy(old, s.conns)
	rest := copy(s.conns, s.conns[n:])
	clear(s.conns[rest:])
	s.conns = s.conns[:rest]
	s.armed = false
	if rest > 0 && !s.over {
		s.armLocked(s.limit - now.Sub(s.conns[0].since))
	}
	s.mu.Unlock()
	for _, k := range old {
		k.close()
	}
}

// shut closes what is there, and what comes later.
func (s *idle) shut() {
	s.mu.Lock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
	all := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, k := range all {
		k.close()
	}
}

func (s *idle) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
