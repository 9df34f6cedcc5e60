package h1

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A requestContext is the context of a request. Unlike those of package context it
// costs nothing before somebody derives another from it, or waits for its end.
type requestContext struct {
	context.Context // of the server: values; never changes

	mu       sync.Mutex
	err      error
	done     chan struct{} // made for who asks
	funcs    map[int]func()
	next     int
	observed bool // somebody has a channel or a function here, and may keep it

	attaching sync.Mutex // held while who is attached is told, and taken before mu
	attached  interface{ Canceled() }
}

// Deadline says that there is none.
func (*requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns what the context of the server has.
func (c *requestContext) Value(key any) any {
	if key == http.ServerContextKey {
		return nil
	}
	return c.Context.Value(key)
}

// Done is closed when the client leaves or the request has been answered.
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed = true
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err is [context.Canceled] once Done is closed.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc runs f on its own goroutine when the context has ended; see
// [context.AfterFunc], which uses it.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.observed = true
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.funcs == nil {
		c.funcs = map[int]func(){}
	}
	id := c.next
	c.next++
	c.funcs[id] = f
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, there := c.funcs[id]
		delete(c.funcs, id)
		return there
	}
}

// Attach has a told when the context ends, in the place of a function: that costs
// nothing. There can be one at a time; it reports whether a is the one. It may be told twice. If the context
// has ended already, a is told at once. [requestContext.Detach] must follow.
func (c *requestContext) Attach(a interface{ Canceled() }) bool {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	if c.attached != nil {
		return false
	}
	c.attached = a
	if c.Err() != nil {
		a.Canceled()
	}
	return true
}

// Detach forgets who was attached. Afterwards he is not told any more.
func (c *requestContext) Detach() {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	c.attached = nil
}

// end ends the context.
func (c *requestContext) end() {
	if !c.over() {
		return
	}
	c.attaching.Lock() // without mu: who is told may cancel what was derived of c
	defer c.attaching.Unlock()
	if c.attached != nil {
		c.attached.Canceled()
	}
}

// over takes note of the end, and reports whether it was not over before.
func (c *requestContext) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = context.Canceled
	if c.done != nil {
		close(c.done)
	}
	for _, f := range c.funcs {
		go f()
	}
	c.funcs = nil
	return true
}

// finish ends the context at the end of its request, and reports whether nobody can
// have kept anything of it, so that it may serve another.
func (c *requestContext) finish() bool {
	c.attaching.Lock()
	c.mu.Lock()
	clean := !c.observed && c.attached == nil && c.err == nil
	c.mu.Unlock()
	c.attaching.Unlock()
	if !clean {
		c.end()
	}
	return clean
}
