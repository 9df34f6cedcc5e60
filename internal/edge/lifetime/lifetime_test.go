package lifetime

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type told struct {
	times int
	then  func()
}

func (a *told) Canceled() {
	a.times++
	if a.then != nil {
		a.then()
	}
}

type key struct{}

func fresh(t *testing.T) *Context {
	return &Context{Context: context.WithValue(context.WithValue(t.Context(), key{}, "value"), http.ServerContextKey, "server")}
}

// TestEnd proves that everybody hears of the end: who waits, who asks, what was derived,
// and who is attached, which is told once, before or after.
func TestEnd(t *testing.T) {
	c := fresh(t)
	if c.Err() != nil || c.Value(key{}) != "value" || c.Value(http.ServerContextKey) != nil {
		t.Errorf("got %v, %v, %v", c.Err(), c.Value(key{}), c.Value(http.ServerContextKey))
	}
	if _, ok := c.Deadline(); ok {
		t.Error("it has a deadline")
	}
	early, derived := c.Done(), func() context.Context { d, _ := context.WithCancel(c); return d }() //nolint:govet // it ends with c
	ran := make(chan struct{})
	c.AfterFunc(func() { close(ran) })
	stopped := c.AfterFunc(func() { t.Error("a function ran that was stopped") })
	if !stopped() || stopped() {
		t.Error("a function is stopped once")
	}
	a := &told{}
	if !c.Attach(a) || c.Attach(&told{}) {
		t.Error("one can be attached")
	}
	c.End()
	c.End()
	<-early
	<-c.Done()
	<-derived.Done()
	<-ran
	if !errors.Is(c.Err(), context.Canceled) || a.times != 1 {
		t.Errorf("got %v, told %d times", c.Err(), a.times)
	}
	c.Detach()
	b := &told{}
	if !c.Attach(b) || b.times != 1 {
		t.Errorf("who comes late was told %d times", b.times)
	}
	late := make(chan struct{})
	if c.AfterFunc(func() { close(late) })() {
		t.Error("a function was stopped that runs")
	}
	<-late
}

// TestDetached proves that who was detached is not told, and makes room for another.
func TestDetached(t *testing.T) {
	c, a, b := fresh(t), &told{}, &told{}
	c.Attach(a)
	c.Detach()
	if !c.Attach(b) {
		t.Fatal("there is no room for another")
	}
	c.End()
	if a.times != 0 || b.times != 1 {
		t.Errorf("told %d times after it was detached, and %d times, want 0 and 1", a.times, b.times)
	}
}

// TestTellingCancels proves that who is told of the end may cancel what was derived of
// the context, which asks it to forget that.
func TestTellingCancels(t *testing.T) {
	c := fresh(t)
	derived, cancel := context.WithCancel(c)
	c.Attach(&told{then: func() {
		cancel()
		_ = c.Err()
	}})
	c.End()
	<-derived.Done()
}

// TestFinish proves that a context may be used again only if nobody can have anything
// of it.
func TestFinish(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  func(c *Context)
		want bool
	}{
		{"unused", func(*Context) {}, true},
		{"asked", func(c *Context) { _ = c.Err() }, true},
		{"waited for", func(c *Context) { c.Done() }, false},
		{"with a function", func(c *Context) { c.AfterFunc(func() {})() }, false},
		{"attached and detached", func(c *Context) { c.Attach(&told{}); c.Detach() }, true},
		{"attached", func(c *Context) { c.Attach(&told{}) }, false},
		{"ended", func(c *Context) { c.End() }, false},
	} {
		c := fresh(t)
		tt.use(c)
		if got := c.Finish(); got != tt.want || (c.Err() == nil) != tt.want {
			t.Errorf("%s: got %t, %v", tt.name, got, c.Err())
		}
	}
}
