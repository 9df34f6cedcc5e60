package timeout

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
)

// A watch is a context with a deadline that can be moved and lifted, which those of
// package context cannot: the deadline of an event stream ends with the head of the
// answer, while the context goes on to carry the stream.
//
// It is two contexts, one in the other, and says that it is done when the inner one
// is. That tells package context that a watch is none of its own, and to ask it for
// Err, so that contexts made of it get DeadlineExceeded, as they would from a
// deadline that stands. [context.Cause] of all of them is the [airside.Error].
type watch struct {
	context.Context // the inner one
	outer           context.Context
	end             context.CancelCauseFunc // of outer, and so of both
	endInner        context.CancelFunc

	mu       sync.Mutex
	timer    *time.Timer // nil if there is no bound
	deadline time.Time   // zero if there is none
}

func newWatch(parent context.Context) *watch {
	w := &watch{}
	w.outer, w.end = context.WithCancelCause(parent)
	w.Context, w.endInner = context.WithCancel(w.outer)
	return w
}

// Deadline is the earlier of the parent's and the one in force.
func (w *watch) Deadline() (time.Time, bool) {
	w.mu.Lock()
	own := w.deadline
	w.mu.Unlock()
	parents, ok := w.outer.Deadline()
	if own.IsZero() || ok && parents.Before(own) {
		return parents, ok
	}
	return own, true
}

// Err is DeadlineExceeded if the time was over first.
func (w *watch) Err() error {
	err := w.Context.Err()
	if err != nil && w.passed() != nil {
		return context.DeadlineExceeded
	}
	return err
}

// Value is that of the outer context, where [context.Cause] finds the cause.
func (w *watch) Value(key any) any { return w.outer.Value(key) }

// AfterFunc is how package context learns, without a goroutine, that a watch has
// ended.
func (w *watch) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(w.Context, f) }

// A passing is the cause of the end of a watch whose time was over.
type passing struct {
	watch *watch
	err   *airside.Error
}

func (p *passing) Error() string { return p.err.Error() }

// Unwrap returns what the client is told.
func (p *passing) Unwrap() error { return p.err }

// because returns what the client is told, with what the agent's side said when its
// time was over.
func (p *passing) because(err error) error {
	e := *p.err // that one others may read
	if err != nil && !errors.Is(err, p) {
		e.Err = fmt.Errorf("%w: %w", e.Err, err)
	}
	return &e
}

// bound makes the watch end after d, by what late says then. Nothing else may be in
// force.
func (w *watch) bound(d time.Duration, late func() *airside.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = time.Now().Add(d)
	w.timer = time.AfterFunc(d, func() {
		w.end(&passing{watch: w, err: late().Because(context.DeadlineExceeded)})
	})
}

// lift takes the bound away. It is too late for that if it returns a passing.
func (w *watch) lift() *passing {
	w.mu.Lock()
	timer := w.timer
	w.timer, w.deadline = nil, time.Time{}
	w.mu.Unlock()
	if timer != nil && !timer.Stop() {
		<-w.outer.Done() // it is about to be
	}
	return w.passed()
}

// passed returns the passing if the time was over first, and nil otherwise.
func (w *watch) passed() *passing {
	if p, ok := errors.AsType[*passing](context.Cause(w.outer)); ok && p.watch == w {
		return p
	}
	return nil
}

// release ends the watch and everything made of it. It may be called again.
func (w *watch) release() {
	_ = w.lift() // it ends either way
	w.endInner()
	w.end(context.Canceled)
}
