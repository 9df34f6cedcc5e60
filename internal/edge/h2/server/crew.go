package server

import "sync"

// A job is what a worker does next: run the handler of a stream, or send what lies in
// the output of a connection.
type job struct {
	stream *stream
	conn   *conn
}

// A crew is goroutines that run jobs, and wait for the next: their stacks have grown
// to what a handler needs already. The one that has waited least is taken first.
type crew struct {
	work *sync.WaitGroup

	mu      sync.Mutex
	waiting []*worker
	low     int // the fewest that have waited since trim
	closed  bool
}

// A worker takes one job at a time.
type worker struct{ jobs chan job }

// open makes workers wait for jobs.
func (c *crew) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = false
}

// start has j done by a worker that waits, or a new one.
func (c *crew) start(j job) {
	c.mu.Lock()
	n := len(c.waiting)
	if n == 0 {
		c.low = 0
		c.mu.Unlock()
		w := &worker{jobs: make(chan job, 1)}
		c.work.Add(1)
		go c.run(w, j)
		return
	}
	w := c.waiting[n-1]
	c.waiting[n-1] = nil
	c.waiting = c.waiting[:n-1]
	c.low = min(c.low, n-1)
	c.mu.Unlock()
	w.jobs <- j
}

func (c *crew) run(w *worker, j job) {
	defer c.work.Done()
	for {
		if j.stream != nil {
			j.stream.run()
		} else {
			j.conn.sending()
		}
		if !c.wait(w) {
			return
		}
		var ok bool
		if j, ok = <-w.jobs; !ok {
			return
		}
	}
}

// wait puts w among those that wait, unless the crew has closed.
func (c *crew) wait(w *worker) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.waiting = append(c.waiting, w)
	return true
}

// trim sends half of the workers home that were not needed since the last time.
func (c *crew) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := (c.low + 1) / 2
	for _, w := range c.waiting[:n] { // they have waited longest
		close(w.jobs)
	}
	rest := copy(c.waiting, c.waiting[n:])
	clear(c.waiting[rest:])
	c.waiting = c.waiting[:rest]
	c.low = rest
}

// close sends all workers home, those at work when they have done it.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, w := range c.waiting {
		close(w.jobs)
	}
	c.waiting, c.low = nil, 0
}
