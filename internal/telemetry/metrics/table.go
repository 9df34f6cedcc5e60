package metrics

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// A table finds series by their keys. Who looks takes no lock; who adds does. It is open
// addressing with linear probing, at most half full, so that a probe always ends.
type table struct {
	seed  maphash.Seed
	slots atomic.Pointer[slots]
	over  atomic.Pointer[series] // stands for all beyond the bound; nil before the first
	held  atomic.Int64           // number of series, without over

	mu sync.Mutex // serializes changes
}

// slots are a power of two, at least twice as many as there are series.
type slots []atomic.Pointer[series]

const firstSlots = 64

func (t *table) init() {
	t.seed = maphash.MakeSeed()
	t.store(make(slots, firstSlots))
}

func (t *table) store(s slots) { t.slots.Store(&s) }

// hash mixes what k is made of. The seed is drawn at random, so that no caller can
// choose names that collide.
func (t *table) hash(k *key) uint64 {
	const odd = 0x9E3779B97F4A7C15
	h := uint64(k.status) | uint64(k.method)<<16 | uint64(k.version)<<24 | uint64(k.fault)<<32
	h = h*odd ^ maphash.String(t.seed, k.route)
	if k.upstream != "" {
		h = h*odd ^ maphash.String(t.seed, k.upstream)
	}
	if k.caller != "" {
		h = h*odd ^ maphash.String(t.seed, k.caller)
	}
	h *= odd
	return h ^ h>>32
}

// find returns the series of k, whose hash is h, or nil.
func (t *table) find(h uint64, k *key) *series {
	s := *t.slots.Load()
	mask := uint64(len(s) - 1) //nolint:gosec // a length
	for i := h & mask; ; i = (i + 1) & mask {
		e := s[i].Load()
		if e == nil || e.hash == h && e.key == *k {
			return e
		}
	}
}

// add returns the series of k, made if it is not there and there are fewer than bound;
// nil otherwise.
func (t *table) add(h uint64, k *key, bound int) *series {
	if t.held.Load() >= int64(bound) { // without the lock, for those who come again and again
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(h, k); e != nil { // another was faster
		return e
	}
	n := t.held.Load()
	if n >= int64(bound) {
		return nil
	}
	s := *t.slots.Load()
	if 2*(int(n)+1) > len(s) {
		s = s.copied(2*len(s), func(*series) bool { return true })
		t.store(s)
	}
	e := &series{hash: h, key: k.clone()}
	s.put(e)
	t.held.Add(1)
	return e
}

// keep drops the series of whose route and upstream f says so.
func (t *table) keep(f func(route, upstream string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	kept := func(e *series) bool {
		ok := f(e.key.route, e.key.upstream)
		if ok {
			n++
		}
		return ok
	}
	s := *t.slots.Load()
	t.store(s.copied(len(s), kept))
	t.held.Store(int64(n))
}

// rest returns the series that stands for all beyond the bound.
func (t *table) rest() *series {
	if s := t.over.Load(); s != nil {
		return s
	}
	t.over.CompareAndSwap(nil, &series{})
	return t.over.Load()
}

// all returns the series, in no order.
func (t *table) all() []*series {
	var out []*series
	s := *t.slots.Load()
	for i := range s {
		if e := s[i].Load(); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// copied returns n slots with those of s that f keeps.
func (s slots) copied(n int, f func(*series) bool) slots {
	out := make(slots, n)
	for i := range s {
		if e := s[i].Load(); e != nil && f(e) {
			out.put(e)
		}
	}
	return out
}

// put puts e where find looks for it. Only one goroutine may do so at a time.
func (s slots) put(e *series) {
	mask := uint64(len(s) - 1) //nolint:gosec // a length
	i := e.hash & mask
	for s[i].Load() != nil {
		i = (i + 1) & mask
	}
	s[i].Store(e)
}
