package pool

import (
	"errors"
	"net/http"
	"time"
)

// heard notes that the head of the answer has come, for the balance. What the client has
// asked for and nobody could answer (501, 505) is no failure.
//
// It returns how long the try has taken. How long the agent has taken may be less: what
// the client needs to send its body is not counted.
func (t *try) heard(status int) time.Duration {
	t.span.Answered(status)
	now, took, ok := t.watch.awaited()
	t.count(status, nil, now)
	s := t.endpoint.stats
	switch {
	case status >= 500 && status <= 599 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		s.Failed(t.watch.after(s.Origin(), now), took)
	case ok:
		s.Answered(t.watch.after(s.Origin(), now), took)
	}
	return now
}

// lost notes that the try has failed by err before its answer began. Err is what the
// client would be told.
func (t *try) lost(err error) {
	if t.pool.tried != nil {
		t.count(0, err, t.watch.since())
	}
	if errors.Is(err, errOvertaken) {
		t.overtaken()
		return
	}
	if f, ok := errors.AsType[*failure](err); ok && f.kind.byAgent() {
		now, took, awaited := t.watch.awaited()
		if !awaited && (f.kind == tryTimeout || f.kind == totalTimeout) {
			return // it was the client who took the time, to send its body
		}
		t.endpoint.stats.Failed(t.watch.after(t.endpoint.stats.Origin(), now), took)
	}
}

// overtaken notes that another endpoint was faster. That is no failure; but it is known
// then that the agent takes longer than that.
func (t *try) overtaken() {
	s := t.endpoint.stats
	if now, took, ok := t.watch.awaited(); ok && took > s.Latency() {
		s.Answered(t.watch.after(s.Origin(), now), took)
	}
}

// broke notes that the answer has broken off by err.
func (t *try) broke(err error) {
	if f, ok := errors.AsType[*failure](err); ok && f.kind.byAgent() {
		t.endpoint.stats.Failed(t.watch.after(t.endpoint.stats.Origin(), t.watch.since()), 0)
	}
}

// byAgent reports whether a failure of this kind is the fault of the agent, or of the way
// to it.
func (k kind) byAgent() bool {
	switch k {
	case full, exhausted, deserted, ailing:
		return false
	default:
		return true
	}
}
