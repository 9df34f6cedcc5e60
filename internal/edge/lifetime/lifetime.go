// Package lifetime has the contexts of requests: unlike those of package context they
// cost nothing before somebody derives another from them, or waits for their end, and
// they are used again when nobody has.
package lifetime

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// A Context is the context of a request. Unlike those of package context it
// costs nothing before somebody derives another from it, or waits for its end.
type Context struct {
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
func (*Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns what the context of the server has.
func (c *Context) Value(key any) any {
	if key == http.ServerContextKey {
		return nil
	}
	return c.Context.Value(key)
}

// Done is closed when the client leaves or the request has been answered.
func (c *Context) Done() <-chan struct{} {
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
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc runs f on its own goroutine when the context has ended; see
// [context.AfterFunc], which uses it.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
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
// nothing. There can be one at a time; it reports whether a is the one. If the context
// has ended already, a is told at once; if it ends at this very moment, twice. What a
// does then may cancel what was derived of the context. [Context.Detach] must follow.
func (c *Context) Attach(a interface{ Canceled() }) bool {
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
func (c *Context) Detach() {
	c.attaching.Lock()
	defer c.attaching.Unlock()
	c.attached = nil
}

// End ends the context.
func (c *Context) End() {
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
func (c *Context) over() bool {
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

// Finish ends the context at the end of its request, and reports whether nobody can
// have kept anything of it, so that it may serve another.
func (c *Context) Finish() bool {
	c.attaching.Lock()
	c.mu.Lock()
	clean := !c.observed && c.attached == nil && c.err == nil
	c.mu.Unlock()
	c.attaching.Unlock()
	if !clean {
		c.End()
	}
	return clean
}
