package pool

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	budgetWindow = 10 // seconds that a budget looks back
	budgetFloor  = 10 // retries a second that are always allowed
)

// A budget bounds the additional requests of the last ten seconds, retries or hedges, to
// a share of the requests of the last ten seconds, so that they cannot double the load
// of an agent that fails because of its load. Some are always allowed, since few
// requests make no share. The zero value is not ready.
//
// To count a request takes no lock: there is one for every exchange.
type budget struct {
	share float64
	floor float64 // additional requests of a window that are always allowed
	begin time.Time

	// By second, how many requests there were: in the upper half which second it is, in
	// the lower half the count.
	requests [budgetWindow]atomic.Uint64

	mu    sync.Mutex
	extra [budgetWindow]struct{ second, n int64 }
}

// newBudget returns a budget of a share, in which floor additional requests a second are
// always allowed.
func newBudget(share, floor float64) *budget {
	return &budget{share: share, floor: floor * budgetWindow, begin: time.Now()}
}

// second is the present one, counted from begin.
func (b *budget) second() int64 { return int64(time.Since(b.begin) / time.Second) }

// request counts a request.
func (b *budget) request() {
	now := uint64(b.second()) //nolint:gosec // it is not negative
	slot := &b.requests[now%budgetWindow]
	for {
		v := slot.Load()
		next := now<<32 | 1
		if v>>32 == now {
			next = v + 1
		}
		if v&math.MaxUint32 == math.MaxUint32 || slot.CompareAndSwap(v, next) {
			return
		}
	}
}

// counted is how many requests there were in the window that ends now.
func (b *budget) counted(now int64) (n uint64) {
	for i := range b.requests {
		if v := b.requests[i].Load(); now-int64(v>>32) < budgetWindow {
			n += v & math.MaxUint32
		}
	}
	return n
}

// take takes an additional request out of the budget, and reports whether there was one
// left.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.second()
	var taken int64
	for _, s := range b.extra {
		if now-s.second < budgetWindow {
			taken += s.n
		}
	}
	if float64(taken) >= max(b.floor, b.share*float64(b.counted(now))) {
		return false
	}
	b.present(now).n++
	return true
}

// present is the slot of a second, emptied if it held another. It is called with mu held.
func (b *budget) present(now int64) *struct{ second, n int64 } {
	s := &b.extra[now%budgetWindow]
	if s.second != now {
		s.second, s.n = now, 0
	}
	return s
}

// giveBack returns what was taken and not used.
func (b *budget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.present(b.second()); s.n > 0 {
		s.n--
	}
}
