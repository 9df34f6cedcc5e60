package server

import (
	"sync"
	"testing"
)

// TestCrew proves that workers are used again, that those which are not needed are sent
// home, and that none is left when the crew is closed.
func TestCrew(t *testing.T) {
	var work sync.WaitGroup
	c := &crew{work: &work}
	idle := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.waiting)
	}
	run := func(n int) {
		s := New(settings(nil, nil))
		conns := make([]*conn, n)
		for i := range conns { // each holds its worker, by its lock
			conns[i] = &conn{server: s}
			conns[i].mu.Lock()
			conns[i].jobs.Add(1)
			c.start(job{conn: conns[i]})
		}
		for _, conn := range conns {
			conn.mu.Unlock()
			conn.jobs.Wait()
		}
	}
	for range 3 {
		run(10)
	}
	if n := idle(); n > 30 {
		t.Errorf("%d workers wait, want no more than were asked for", n)
	}
	c.trim()
	for range 10 {
		c.trim()
	}
	if n := idle(); n > 10 {
		t.Errorf("%d workers wait though nobody needs them", n)
	}
	c.close()
	work.Wait()
	run(3) // the crew is closed: its workers go home when they have done it
	work.Wait()
	if n := idle(); n != 0 {
		t.Errorf("%d workers wait in a crew that is closed", n)
	}
}
