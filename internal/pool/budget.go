package pool

import (
	"sync"
	"time"
)

const (
	budgetWindow = 10 // seconds that a budget looks back
	budgetFloor  = 10 // retries a second that are always allowed
)

// A budget bounds the retries of the last ten seconds to a share of the requests
// of the last ten seconds, so that retries cannot double the load of an agent
// that fails because of its load. Ten retries a second are always allowed: few
// requests make no share. The zero value is not ready.
type budget struct {
	share float64
	begin time.Time

	mu    sync.Mutex
	slots [budgetWindow]budgetSlot
}

type budgetSlot struct {
	second            int64 // since begin
	requests, retries int64
}

func newBudget(share float64) *budget { return &budget{share: share, begin: time.Now()} }

// slot is that of the present second, emptied if it held another. It is called
// with mu held.
func (b *budget) slot() *budgetSlot {
	now := int64(time.Since(b.begin) / time.Second)
	s := &b.slots[now%budgetWindow]
	if s.second != now {
		*s = budgetSlot{second: now}
	}
	return s
}

// request counts a request.
func (b *budget) request() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slot().requests++
}

// take takes a retry out of the budget, and reports whether there was one left.
func (b *budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	present := b.slot()
	var requests, retries int64
	for i := range b.slots {
		if present.second-b.slots[i].second < budgetWindow {
			requests += b.slots[i].requests
			retries += b.slots[i].retries
		}
	}
	if float64(retries) >= max(budgetFloor*budgetWindow, b.share*float64(requests)) {
		return false
	}
	present.retries++
	return true
}

// giveBack returns a retry that was taken and not used.
func (b *budget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.slot(); s.retries > 0 {
		s.retries--
	}
}
