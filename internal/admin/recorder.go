package admin

import (
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// A Recorder remembers what operators ask about: the newest exchanges, and how many there
// were on each route, with how long they took. It is an [edge.Observer]; where it is
// switched off it costs a load. It survives changes of the configuration.
type Recorder struct {
	live atomic.Pointer[recording] // nil where it is switched off
	mask func(string) string       // takes secrets out; set before the first exchange

	mu sync.Mutex // serializes Set
}

// A recording is what a recorder holds.
type recording struct {
	ring    *ring // of length 0 if no exchanges are kept
	pace    pace
	traffic *traffic
	follow  *followers
}

// NewRecorder returns a recorder that is switched off. Mask takes out of a text what
// nobody is to see; nil takes nothing.
func NewRecorder(mask func(string) string) *Recorder {
	if mask == nil {
		mask = func(s string) string { return s }
	}
	return &Recorder{mask: mask}
}

// MaskBy replaces what takes secrets out of texts. It is for the time before the first
// exchange.
func (r *Recorder) MaskBy(mask func(string) string) { r.mask = mask }

// Set switches r on or off, and says how many exchanges it keeps. Those that it has are
// lost if the number changes; what was counted stays as long as it is on.
func (r *Recorder) Set(on bool, recent int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.live.Load()
	switch {
	case !on:
		r.live.Store(nil)
		return
	case old != nil && len(old.ring.slots) == recent:
		return
	}
	next := &recording{ring: newRing(recent), traffic: newTraffic(), follow: &followers{}}
	if old != nil {
		next.traffic, next.follow = old.traffic, old.follow
		next.ring.taken.Store(old.ring.taken.Load()) // numbers go on, so that who has seen one misses none
	}
	r.live.Store(next)
}

// On reports whether anything is recorded.
func (r *Recorder) On() bool { return r.live.Load() != nil }

// Ended takes note of an exchange.
func (r *Recorder) Ended(x *airside.Exchange, o *airside.Outcome, s *edge.Seen) {
	l := r.live.Load()
	if l == nil {
		return
	}
	e := ended{x: x, o: o, s: s}
	if o.Err != nil {
		e.explain(r.mask)
	}
	failed, followed := o.Failed(), l.follow.any()
	l.traffic.count(x.Route, o, failed)
	if !failed && !followed && !l.pace.allows(s.Start.Add(o.Duration).Unix()) {
		l.ring.missed.Add(1)
		return
	}
	number := l.ring.put(&e)
	if followed {
		l.follow.tell(&e, number, r.mask)
	}
}

// mostASecond is how many exchanges that did well are kept of a second, while nobody
// follows them: nobody reads more, and each costs a piece of the processor's cache.
const mostASecond = 1000

// A pace counts what was allowed in the second that is under way.
type pace struct{ now atomic.Uint64 } // the second, and in its lower 16 bits how many

// allows reports whether one more of that second is.
func (p *pace) allows(second int64) bool {
	const bits = 16
	for {
		now := p.now.Load()
		next := uint64(second)<<bits | 1 //nolint:gosec // after 1970
		if now>>bits == next>>bits {
			if now&(1<<bits-1) >= mostASecond {
				return false
			}
			next = now + 1
		}
		if p.now.CompareAndSwap(now, next) {
			return true
		}
	}
}
