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
}

// A desk gives out places.
type desk struct {
	orders atomic.Int64

	mu    sync.Mutex
	rules rules
	rooms map[string]*room            // by key; only those in use
	in    map[*airside.Exchange]*room // who has a place
}

// A room is the places of one key, and the queue for them.
type room struct {
	key   string
	taken int
	queue list.List // of *waiter
}

// A waiter stands in the queue.
type waiter struct {
	x      *airside.Exchange
	room   *room
	place  *list.Element // in the queue; nil once called or gone
	called chan struct{} // closed when there is a place
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

// ask takes a place for x, or one in the queue.
func (d *desk) ask(x *airside.Exchange, key string, by rules) (*waiter, state) {
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
	if r.taken < d.rules.max && r.queue.Len() == 0 {
		r.taken++
		d.in[x] = r
		return nil, entered
	}
	if r.queue.Len() >= d.rules.queue {
		return nil, refused
	}
	w := &waiter{x: x, room: r, called: make(chan struct{})}
	w.place = r.queue.PushBack(w)
	return w, waiting
}

// enact puts newer rules into force.
func (d *desk) enact(by rules) {
	if by.order <= d.rules.order {
		return
	}
	d.rules = by
	for _, r := range d.rooms {
		d.call(r)
	}
}

// call lets in from the queue whoever there is a place for.
func (d *desk) call(r *room) {
	for r.taken < d.rules.max && r.queue.Len() > 0 {
		w, _ := r.queue.Remove(r.queue.Front()).(*waiter)
		w.place = nil
		r.taken++
		d.in[w.x] = r
		close(w.called)
	}
	if r.taken == 0 {
		delete(d.rooms, r.key)
	}
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

// giveUp takes w out of the queue. It reports false if w has been called: then
// there is a place, to use or to leave.
func (d *desk) giveUp(w *waiter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.place == nil {
		return false
	}
	w.room.queue.Remove(w.place)
	w.place = nil
	return true
}
