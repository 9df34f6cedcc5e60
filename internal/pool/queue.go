package pool

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// Queue lets exchanges wait for a place at an endpoint, first come first served.
type Queue struct {
	// Size is how many exchanges wait at the same time: 1 to 1000000.
	Size int `yaml:"size,required"`
	// Wait is the longest that one waits, at most 1h. The default is 1s.
	Wait time.Duration `yaml:"wait"`
}

// Defaults sets how long one waits.
func (q *Queue) Defaults() { q.Wait = time.Second }

// Bounds of a [Queue].
const (
	maxQueue     = 1_000_000
	maxQueueWait = time.Hour
)

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (q *Queue) Validate() error {
	var errs []error
	if q.Size < 1 || q.Size > maxQueue {
		errs = append(errs, airside.FieldErrorf("size", "must be from 1 to %d", maxQueue))
	}
	if q.Wait <= 0 || q.Wait > maxQueueWait {
		errs = append(errs, airside.FieldErrorf("wait", "must be more than 0 and at most 1h"))
	}
	return errors.Join(errs...)
}

// lookAgain is after how long whoever is first looks for a place that nobody told of: at
// an endpoint that has come, is well again, or serves another pool too.
const lookAgain = 20 * time.Millisecond

// A queue is where exchanges wait for a place. Only the first of them looks for one.
type queue struct {
	Queue

	waiting atomic.Int64

	mu   sync.Mutex
	line list.List // of chan struct{}: a token says that its owner is first, or that a place is free
}

// place takes a place at an endpoint, for which it may have to wait.
func (p *Pool) place(x *airside.Exchange) (*member, health.Ticket, error) {
	if p.queue == nil {
		return p.enter(x)
	}
	return p.queue.enter(p, x)
}

// enter is that of the pool, or waits for its success as long as all endpoints are in use.
func (q *queue) enter(p *Pool, x *airside.Exchange) (*member, health.Ticket, error) {
	if q.waiting.Load() == 0 {
		if m, ticket, err := p.enter(x); !crowded(x, err) {
			return m, ticket, err
		}
	} else if _, only := triedOf(x.Context()); only { // what is free is for those who wait
		return nil, 0, (&failure{kind: full}).phrase()
	}
	place := q.stand()
	if place == nil {
		return nil, 0, p.overflow()
	}
	defer q.step(place)
	timer := time.NewTimer(q.Wait)
	defer timer.Stop()
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	turn, _ := place.Value.(chan struct{}) // there is nothing else
	ctx, first := x.Context(), false
	for {
		var look <-chan time.Time
		if first {
			look = again.C
		}
		select {
		case <-turn:
			first = true
		case <-look:
		case <-timer.C:
			return nil, 0, p.overflow()
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("waiting for a connection: %w", context.Cause(ctx))
		}
		if m, ticket, err := p.enter(x); !crowded(x, err) {
			return m, ticket, err
		}
	}
}

// crowded reports whether err says that all endpoints are in use, and x may wait: a second
// request beside the first, which needs another endpoint, does not.
func crowded(x *airside.Exchange, err error) bool {
	f, ok := errors.AsType[*failure](err)
	if !ok || f.kind != full {
		return false
	}
	_, only := triedOf(x.Context())
	return !only
}

// stand takes a place in the line; nil if there is none.
func (q *queue) stand() *list.Element {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.line.Len() >= q.Size {
		return nil
	}
	turn := make(chan struct{}, 1)
	if q.line.Len() == 0 {
		turn <- struct{}{} // a place may have become free meanwhile
	}
	q.waiting.Add(1)
	return q.line.PushBack(turn)
}

// step leaves the line. Whoever is first then looks for a place: there may be more than one.
func (q *queue) step(place *list.Element) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.line.Remove(place)
	q.waiting.Add(-1)
	q.call()
}

// call tells whoever is first. The caller holds mu.
func (q *queue) call() {
	e := q.line.Front()
	if e == nil {
		return
	}
	turn, _ := e.Value.(chan struct{}) // there is nothing else
	select {
	case turn <- struct{}{}:
	default: // it knows
	}
}

// freed notes that a place has become free. It may be called on nil.
func (q *queue) freed() {
	if q == nil || q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.call()
}

// overflow counts an exchange for which there was no room, and says so.
func (p *Pool) overflow() error {
	p.overflows.Add(1)
	return (&failure{kind: full}).phrase()
}
