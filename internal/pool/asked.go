package pool

import (
	"context"
	"slices"
	"sync"
)

// tried is what the tries of one exchange have in common: the endpoints that were
// asked already. It travels in the context of the request. Two tries may be under way at
// the same time: see [Hedge].
type tried struct {
	mu        sync.Mutex
	endpoints []*Endpoint
}

type triedKey struct{}

// has reports whether e was asked.
func (t *tried) has(e *Endpoint) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.endpoints, e)
}

// add notes that e is asked.
func (t *tried) add(e *Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endpoints = append(t.endpoints, e)
}

// remove notes that e was not asked after all.
func (t *tried) remove(e *Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.endpoints, e); i >= 0 {
		t.endpoints = slices.Delete(t.endpoints, i, i+1)
	}
}

// any reports whether anything was asked. A nil tried has asked nobody.
func (t *tried) any() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.endpoints) > 0
}

// triedOf is nil without a retry or a hedge. Only says that nobody is to be asked who was
// already.
func triedOf(ctx context.Context) (t *tried, only bool) {
	switch v := ctx.Value(triedKey{}).(type) {
	case *tried:
		return v, false
	case elsewhere:
		return v.tried, true
	}
	return nil, false
}

// elsewhere stands in the place of a tried for a try that is only made at an endpoint
// which was not asked.
type elsewhere struct{ *tried }
