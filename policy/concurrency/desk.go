package concurrency

import (
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside"
)

// rules are the numbers of one generation. Those with the highest order are in
// force: a generation that still drains does not bring its own back.
type rules struct {
	order      int64
	max, queue int
	newest     bool    // who came last is served first
	adaptive   *bounds // or nil: max is the limit
}

// A desk gives out places.
type desk struct {
	orders atomic.Int64

	mu       sync.Mutex
	rules    rules
	gradient *gradient                   // with adaptive rules
	rooms    map[string]*room            // by key; only those in use
	in       map[*airside.Exchange]*room // who has a place
}

// A room is the places of one key, and the queue for them.
type room struct {
	key     string
	taken   int
	waiting int                // in all queues
	queues  [classes]list.List // of *waiter
	passed  [classes]int       // how often others came first while somebody waited
}

// A waiter stands in the queue.
type waiter struct {
	x       *airside.Exchange
	room    *room
	class   class
	place   *list.Element // in the queue; nil once called or gone
	evicted bool          // called to be refused
	called  chan struct{} // closed when there is a place, or none any more
}

func newDesk() (*desk, error) {
	return &desk{rooms: map[string]*room{}, in: map[*airside.Exchange]*room{}}, nil
}

// A state is what came of asking for a place.
type state int

const (
	entered state = iota // got one
	there                // had one
	waiting              // stands in the queue
	refused
)

// limit is how many exchanges of a key may run.
func (d *desk) limit() int {
	if d.gradient != nil {
		return d.gradient.allowed()
	}
	return d.rules.max
}

// ask takes a place for x, or one in the queue.
func (d *desk) ask(x *airside.Exchange, key string, c class, by rules) (*waiter, state) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.enact(by)
	if d.in[x] != nil {
		return nil, there
	}
	r := d.rooms[key]
	if r == nil {
		r = &room{key: key}
		d.rooms[key] = r
	}
	if r.taken < d.limit() && r.waiting == 0 {
		r.taken++
		d.in[x] = r
		return nil, entered
	}
	if r.waiting >= d.rules.queue && !r.evict(c) {
		return nil, refused
	}
	w := &waiter{x: x, room: r, class: c, called: make(chan struct{})}
	w.place = r.queues[c].PushBack(w)
	r.waiting++
	return w, waiting
}

// evict sends away the newest waiter of the lowest class below c, if there is one.
func (r *room) evict(c class) bool {
	for lower := low; lower > c; lower-- {
		if e := r.queues[lower].Back(); e != nil {
			w := r.remove(lower, e)
			w.evicted = true
			close(w.called)
			return true
		}
	}
	return false
}

// remove takes a waiter out of its queue.
func (r *room) remove(c class, e *list.Element) *waiter {
	w, _ := r.queues[c].Remove(e).(*waiter) // there is nothing else
	w.place = nil
	r.waiting--
	if r.queues[c].Len() == 0 {
		r.passed[c] = 0 // nobody waits who was passed over
	}
	return w
}

// enact puts newer rules into force.
func (d *desk) enact(by rules) {
	if by.order <= d.rules.order {
		return
	}
	d.rules = by
	switch {
	case by.adaptive == nil:
		d.gradient = nil
	case d.gradient == nil:
		d.gradient = newGradient(*by.adaptive)
	default:
		d.gradient.set(*by.adaptive)
	}
	for _, r := range d.rooms {
		d.call(r)
	}
}

// call lets in from the queue whoever there is a place for.
func (d *desk) call(r *room) {
	for r.taken < d.limit() && r.waiting > 0 {
		w := r.next(d.rules.newest)
		r.taken++
		d.in[w.x] = r
		close(w.called)
	}
	if r.taken == 0 && r.waiting == 0 {
		delete(d.rooms, r.key)
	}
}

// patience is how often a class that waits is passed over.
const patience = 8

// next takes the waiter out of the queue whose turn it is. There must be one.
func (r *room) next(newest bool) *waiter {
	turn := classes
	for c := low; c >= high; c-- {
		if r.queues[c].Len() > 0 && (turn == classes || r.passed[turn] < patience) {
			turn = c
		}
	}
	for c := range classes {
		if r.queues[c].Len() > 0 {
			r.passed[c]++
		}
	}
	r.passed[turn] = 0
	if newest {
		return r.remove(turn, r.queues[turn].Back())
	}
	return r.remove(turn, r.queues[turn].Front())
}

// leave gives back the place of x.
func (d *desk) leave(x *airside.Exchange) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.in[x]
	if r == nil {
		return
	}
	delete(d.in, x)
	r.taken--
	d.call(r)
}

// learn takes an answer for what it tells of the load.
func (d *desk) learn(s sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gradient == nil {
		return
	}
	if r := d.rooms[""]; r != nil && d.gradient.add(s, r.taken) { // adaptive rules have no keys
		d.call(r)
	}
}

// giveUp takes w out of the queue. It reports false if w has been called: then
// there is a place, to use or to leave, unless it was evicted.
func (d *desk) giveUp(w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.place == nil {
		return false
	}
	w.room.remove(w.class, w.place)
	return true
}
