package jq

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrFull says that a [Room] had no place in time.
var ErrFull = errors.New("jq: there is no memory left for what is decoded at the same time")

// A Room is an amount of memory that exchanges share for what they decode. Who
// enters first is let in first. It may be used by many goroutines at once.
type Room struct {
	size int64

	mu      sync.Mutex // guards what follows
	used    int64
	waiting []*visit // in the order in which they came
}

// A visit is a share that somebody has, or waits for.
type visit struct {
	n   int64
	let chan struct{} // closed when it may begin
}

// NewRoom returns a room of size bytes.
func NewRoom(size int64) *Room { return &Room{size: size} }

// Enter takes n bytes, or the whole room if it has no more, and waits for them, at
// most as long as wait. It fails with [ErrFull], or with the cause of the end of
// ctx. The function that it returns gives the share back; it must be called, once.
//
// Nobody may enter twice: two that wait for each other would both wait in vain.
func (r *Room) Enter(ctx context.Context, n int64, wait time.Duration) (leave func(), err error) {
	v := &visit{n: min(n, r.size), let: make(chan struct{})}
	leave = func() { r.leave(v) }
	r.mu.Lock()
	r.waiting = append(r.waiting, v)
	r.admitLocked()
	r.mu.Unlock()
	select {
	case <-v.let:
		return leave, nil
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-v.let:
		return leave, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = ErrFull
	}
	r.giveUp(v)
	return nil, err
}

// Used is how much of the room is taken, in bytes.
func (r *Room) Used() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// admitLocked lets in who is next, as long as there is a place. It is called with mu
// held.
func (r *Room) admitLocked() {
	for len(r.waiting) > 0 && r.used+r.waiting[0].n <= r.size {
		v := r.waiting[0]
		r.waiting[0] = nil
		r.waiting = r.waiting[1:]
		r.used += v.n
		close(v.let)
	}
}

func (r *Room) leave(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= v.n
	r.admitLocked()
}

// giveUp ends a visit that was waited for, whether or not it was let in meanwhile.
func (r *Room) giveUp(v *visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range r.waiting {
		if w == v {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			r.admitLocked() // those behind may be smaller
			return
		}
	}
	r.used -= v.n
	r.admitLocked()
}
