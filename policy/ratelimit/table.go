package ratelimit

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"sync"
	"time"
)

// A rate is the numbers of the generic cell rate algorithm (ITU-T I.371 annex A,
// the virtual scheduling form). Times are nanoseconds; what does not divide is
// kept as a part, counted in limit-ths of a nanosecond, so that nothing is ever
// rounded.
type rate struct {
	limit, per, burst uint64

	step       int64 // per/limit: the time in which one request comes back
	stepPart   uint64
	window     int64 // burst*per/limit: the time in which all of them do
	windowPart uint64
}

// A verdict is what the algorithm says of one request.
type verdict struct {
	ok        bool
	remaining uint64        // how many more pass now
	wait      time.Duration // until there is one more of them; 0 if there cannot be
}

// A slot is what is known of one key: the time, since the beginning of the
// table, at which its bucket is full again. ITU-T I.371 calls it the theoretical
// arrival time.
type slot struct {
	key  key
	full int64
	part uint64
}

func (s *slot) vacant() bool { return s.key == key{} }

// take counts a request at now, or refuses it.
func (s *slot) take(now int64, r *rate) bool {
	s.settle(now, r)
	full, part := s.full+r.step, s.part+r.stepPart
	if part >= r.limit {
		full, part = full+1, part-r.limit
	}
	ahead := full - now
	if ahead > r.window || ahead == r.window && part > r.windowPart {
		return false
	}
	s.full, s.part = full, part
	return true
}

// settle brings the slot within what r allows: no fuller than full, and no
// emptier than empty, which it can be if the numbers were others before.
func (s *slot) settle(now int64, r *rate) {
	if s.part >= r.limit {
		s.full, s.part = s.full+1, 0
	}
	switch ahead := s.full - now; {
	case ahead < 0:
		s.full, s.part = now, 0
	case ahead > r.window || ahead == r.window && s.part > r.windowPart:
		s.full, s.part = now+r.window, r.windowPart
	}
}

// state says how the settled slot stands.
func (s *slot) state(now int64, r *rate) verdict {
	// What is left of the window, in limit-ths of a nanosecond, of which per make
	// a request.
	left := uint64(r.window - (s.full - now)) //nolint:gosec // a settled slot is within the window
	hi, lo := bits.Mul64(left, r.limit)
	lo, carry := bits.Add64(lo, r.windowPart, 0)
	lo, borrow := bits.Sub64(lo, s.part, 0)
	hi += carry - borrow
	n, rest := bits.Div64(hi, lo, r.per)
	v := verdict{remaining: n}
	if n < r.burst {
		v.wait = time.Duration((r.per - rest + r.limit - 1) / r.limit) //nolint:gosec // at most per
	}
	return v
}

// shards is how many locks the table has.
const shards = 64

// A table holds the slots of all keys.
type table struct {
	seeds  [2]maphash.Seed
	began  time.Time
	shards [shards]shard
}

// A shard is a part of the table under a lock of its own: a hash table with open
// addressing, so that finding a key costs one access to memory that is not in the
// cache, and no pointer for the garbage collector to follow.
type shard struct {
	mu    sync.Mutex
	slots []slot // a power of two of them, of which used are not vacant
	used  int
	hand  int // of the sweep
	_     [64]byte
}

func newTable() (*table, error) {
	t := &table{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, began: time.Now()}
	for i := range t.shards {
		t.shards[i].slots = make([]slot, 16)
	}
	return t, nil
}

func (t *table) shard(k key) *shard { return &t.shards[k[0]%shards] }

// take counts a request of k, or refuses it. A shard holds at most bound keys.
func (t *table) take(k key, r *rate, bound int) verdict {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := int64(time.Since(t.began)) // under the lock: time must not run backwards for a key
	i := s.find(k)
	if s.slots[i].vacant() {
		i = s.add(k, now, bound)
	}
	e := &s.slots[i]
	ok := e.take(now, r)
	v := e.state(now, r)
	v.ok = ok
	return v
}

// look says how k stands without counting anything.
func (t *table) look(k key, r *rate) verdict {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := int64(time.Since(t.began))
	e := s.slots[s.find(k)] // a copy; a vacant one settles as full
	e.settle(now, r)
	return e.state(now, r)
}

// find returns where k is, or the vacant place where it would be.
func (s *shard) find(k key) int {
	mask := len(s.slots) - 1
	for i := int(k[1]) & mask; ; i = (i + 1) & mask { //nolint:gosec // masked
		if s.slots[i].key == k || s.slots[i].vacant() {
			return i
		}
	}
}

// add makes a slot for k, which has none.
func (s *shard) add(k key, now int64, bound int) int {
	s.sweep(now)
	for range 2 { // one for k, and one more to get down to a bound that was lowered
		if s.used >= bound {
			s.remove(s.victim())
		}
	}
	if s.used >= len(s.slots)/4*3 {
		s.grow()
	}
	i := s.find(k)
	s.slots[i] = slot{key: k, full: now}
	s.used++
	return i
}

func (s *shard) grow() {
	old := s.slots
	s.slots = make([]slot, 2*len(old))
	for _, e := range old {
		if !e.vacant() {
			s.slots[s.find(e.key)] = e
		}
	}
}

// stride is how many places the sweep looks at for each new key. At least a
// quarter of a table that has grown is in use, so it forgets no slower than keys
// come.
const stride = 4

// sweep forgets keys that are full again, so that the table stays as large as
// what is in use.
func (s *shard) sweep(now int64) {
	mask := len(s.slots) - 1
	for range stride {
		if e := &s.slots[s.hand&mask]; !e.vacant() && e.full <= now {
			s.remove(s.hand & mask)
			continue // another may have moved here
		}
		s.hand = (s.hand + 1) & mask
	}
}

// sample is how many slots are compared to find one to give up.
const sample = 16

// victim is the slot that is full again the soonest, of a random sample of those
// in use, of which there must be one.
func (s *shard) victim() int {
	best := -1
	for seen := 0; seen < sample; {
		i := rand.IntN(len(s.slots)) //nolint:gosec // seeded by the runtime: nobody outside can foresee it
		if s.slots[i].vacant() {
			continue
		}
		seen++
		if best < 0 || s.slots[i].full < s.slots[best].full {
			best = i
		}
	}
	return best
}

// remove forgets slot i, and closes the gap that this makes in the run of slots
// behind it.
func (s *shard) remove(i int) {
	mask := len(s.slots) - 1
	for j := (i + 1) & mask; !s.slots[j].vacant(); j = (j + 1) & mask {
		home := int(s.slots[j].key[1]) & mask //nolint:gosec // masked
		if (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = slot{}
	s.used--
}
