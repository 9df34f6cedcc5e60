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
	l.traffic.count(x.Route, o, o.Failed())
	number := l.ring.put(&e)
	if l.follow.any() {
		l.follow.tell(&e, number, r.mask)
	}
}
