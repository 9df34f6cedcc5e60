package balance

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestEnter proves that no more enter than there is room for, and that nobody does once a
// member has retired, which it does once, and not while something is under way.
func TestEnter(t *testing.T) {
	s := NewStats()
	for n, want := range []bool{true, true, false} {
		if got := s.Enter(2); got != want {
			t.Errorf("of two places, number %d: got %t, want %t", n+1, got, want)
		}
	}
	if s.Sent(); s.Active() != 2 || s.Requests() != 1 {
		t.Errorf("got %d under way of %d, want 2 of 1", s.Active(), s.Requests())
	}
	if s.Retire() {
		t.Error("it retired from what was under way")
	}
	for _, want := range []bool{false, true} {
		if got := s.Leave(); got != want {
			t.Errorf("leaving as the last: got %t, want %t", got, want)
		}
	}
	for _, want := range []bool{true, false} {
		if got := s.Retire(); got != want {
			t.Errorf("retiring once: got %t, want %t", got, want)
		}
	}
	if s.Enter(0) || s.Active() != 0 || !s.Retired() {
		t.Error("somebody entered after it retired")
	}
}

// TestRetireRace proves that whoever enters while a member retires is refused, or is there
// before it.
func TestRetireRace(t *testing.T) {
	for range 200 {
		s := NewStats()
		var all sync.WaitGroup
		var inside, late atomic.Int64
		for range 4 {
			all.Go(func() {
				for range 50 {
					if !s.Enter(0) {
						continue
					}
					inside.Add(1)
					if s.Retired() {
						late.Add(1)
					}
					inside.Add(-1)
					s.Leave()
				}
			})
		}
		for !s.Retire() {
			runtime.Gosched()
		}
		all.Wait()
		if late.Load() != 0 {
			t.Fatalf("%d were inside a member that had retired", late.Load())
		}
	}
}

// TestEstimate proves that the cost of a try rises at once, falls by and by, and decays
// with time, slowly if it is high; and that the mean follows all answers evenly.
func TestEstimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStats()
		cost := func() time.Duration { return time.Duration(s.cost(s.tickAt(time.Now()))).Round(time.Millisecond) }
		answer := func(took time.Duration) {
			<-time.After(time.Second)
			s.Answered(time.Since(s.Origin()), took)
		}
		if got := cost(); got != 0 || s.Latency() != 0 {
			t.Errorf("at first got %s, %s, want nothing", got, s.Latency())
		}
		answer(100 * time.Millisecond)
		answer(900 * time.Millisecond)
		if got := cost(); got != 900*time.Millisecond {
			t.Errorf("after a slow answer got %s, want its time", got)
		}
		if got := s.Latency(); got != 200*time.Millisecond {
			t.Errorf("the mean is %s, want an eighth of the way: 200ms", got)
		}
		answer(100 * time.Millisecond)
		if got := cost(); got < 700*time.Millisecond || got > 850*time.Millisecond {
			t.Errorf("after a fast one got %s, want a tenth of the way back", got)
		}
		answer(10 * time.Second)
		<-time.After(40 * time.Second)
		if got := cost(); got < 3600*time.Millisecond || got > 3750*time.Millisecond {
			t.Errorf("40s after an answer of 10s got %s, want a third of it", got)
		}
	})
}
