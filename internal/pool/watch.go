package pool

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits are the time-outs of an exchange with an agent. Zero means none.
type Limits struct {
	// Total bounds the exchange from its beginning to the last byte of the answer.
	// Answers that are event streams or upgrades are bounded up to their head.
	Total time.Duration

	// FirstByte bounds how long an agent is awaited until the head of its answer.
	// The time in which the client is awaited, which sends its body, does not count.
	FirstByte time.Duration

	// FirstEvent bounds how long the first byte of an answer that is an event stream is
	// awaited, counted from the head. Nothing of the answer is passed on before.
	FirstEvent time.Duration

	// StreamIdle bounds every silence within an answer. The time in which the
	// client is awaited, which reads it, does not count.
	StreamIdle time.Duration
}

// A watch ends one try that takes too long: it cancels it, with a *failure as the
// cause. One timer serves all limits, and what happens per chunk only notes the time.
//
// A watch may be used for one try after the other. The timer is then left as it is: it
// rings when the limit of an earlier try would have passed, and is set anew for the one
// that is under way.
type watch struct {
	limits Limits
	origin time.Time     // what the times are counted from
	begin  time.Duration // of the try, after origin
	end    time.Duration // what is left of Total, from begin; 0 none
	cancel func(error)

	// Since when the agent is awaited, in nanoseconds after begin; 0 while it is
	// not. Before the head and after it another one is in force, so that a request
	// body that is still being sent does not disturb the second.
	head, body atomic.Int64

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	rings   time.Duration // when the timer rings, after origin; 0: it does not
	headed  bool
	endless bool // Total is in force no more
	opening bool // the first byte of an event stream is awaited
	stopped bool
}

// start begins to watch a try. End is when Total is over; zero means never.
func (w *watch) start(limits Limits, end time.Time, cancel func(error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.origin.IsZero() {
		w.origin = time.Now()
	}
	w.limits, w.begin, w.end, w.cancel = limits, time.Since(w.origin), 0, cancel
	w.headed, w.endless, w.opening, w.stopped = false, false, false, false
	if !end.IsZero() {
		w.end = max(end.Sub(w.origin)-w.begin, 1)
	}
	w.head.Store(1)
	w.body.Store(0)
	if due, _, _ := w.due(0); due > 0 {
		w.ringAt(due)
	}
}

// ringAt sees to it that the timer rings when due has passed since begin, or before. It
// is called with mu held.
func (w *watch) ringAt(due time.Duration) {
	at := w.begin + due
	if w.rings > 0 && at >= w.rings {
		return
	}
	w.rings = at
	in := at - time.Since(w.origin)
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.ring)
		return
	}
	w.timer.Reset(in)
}

// now is never 0, which means that nobody waits.
func (w *watch) now() int64 { return max(int64(w.since()), 1) }

// since is the time since begin.
func (w *watch) since() time.Duration { return time.Since(w.origin) - w.begin }

// sending notes that the client is awaited, and sent that it has sent something:
// from then on the agent is awaited again.
func (w *watch) sending() { w.head.Store(0) }
func (w *watch) sent()    { w.head.Store(w.now()) }

// listening notes that the agent is awaited, and heard that it has spoken.
func (w *watch) listening() { w.body.Store(w.now()) }
func (w *watch) heard()     { w.body.Store(0) }

// Waits and Heard are listening and heard, for the engine of our own.
func (w *watch) Waits() { w.listening() }

// Heard is heard.
func (w *watch) Heard() { w.heard() }

// touch notes that something went either way over an upgraded connection, and that
// the next is awaited.
func (w *watch) touch() { w.body.Store(w.now()) }

// awaited is the time since begin, and for how long the agent has been awaited without
// a break; it says no if it is the client that is awaited.
func (w *watch) awaited() (now, agent time.Duration, ok bool) {
	now = w.since()
	since := w.head.Load()
	if since == 0 {
		return now, 0, false
	}
	return now, max(now-time.Duration(since), 1), true
}

// after is a time since begin as one since origin.
func (w *watch) after(origin time.Time, since time.Duration) time.Duration {
	return w.origin.Sub(origin) + w.begin + since
}

// upgraded notes that the answer has changed the protocol. Total does not bound the rest.
func (w *watch) upgraded() { w.answeredAt(w.since(), true, false) }

// answered notes the head of the answer, when the time since begin is now. Total does not
// bound the rest of an event stream, whose first byte is awaited from now on.
func (w *watch) answered(now time.Duration, stream bool) {
	w.answeredAt(now, stream, stream && w.limits.FirstEvent > 0)
}

func (w *watch) answeredAt(now time.Duration, endless, opening bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.headed, w.endless, w.opening = true, endless, opening
	if w.stopped {
		return
	}
	if due, _, _ := w.due(now); due > 0 {
		w.ringAt(due)
	}
}

// begun notes the first byte of an event stream.
func (w *watch) begun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opening = false
	if w.stopped {
		return
	}
	if due, _, _ := w.due(w.since()); due > 0 {
		w.ringAt(due)
	}
}

// stop ends the watch, for another try to use.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
}

// drop ends the watch for good.
func (w *watch) drop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// ring looks whether a limit has passed, and otherwise when the next one may.
func (w *watch) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rings = 0
	if w.stopped {
		return
	}
	now := w.since()
	due, k, limit := w.due(now)
	switch {
	case due == 0:
	case due > now:
		w.ringAt(due)
	default:
		w.stopped = true
		w.cancel(&failure{kind: k, sent: true, after: limit, mute: w.muteLocked(now)})
	}
}

// due is the earliest time, after begin, at which a limit may be found to have
// passed, which kind of failure that would be, and the limit. The time is 0 if
// there is no limit. It is called with mu held.
func (w *watch) due(now time.Duration) (due time.Duration, k kind, limit time.Duration) {
	k, limit = firstByteTimeout, w.limits.FirstByte
	since := w.head.Load()
	if w.headed {
		k, limit = idleTimeout, w.limits.StreamIdle
		since = w.body.Load()
		if w.opening {
			k, limit = eventTimeout, w.limits.FirstEvent
		}
	}
	if limit > 0 {
		due = now + limit // nobody is awaited: look again
		if since > 0 {
			due = time.Duration(since) + limit
		}
	}
	if w.end > 0 && !w.endless && (due == 0 || w.end <= due) {
		return w.end, totalTimeout, w.limits.Total
	}
	return due, k, limit
}
