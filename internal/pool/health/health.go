// Package health knows which endpoints of an upstream are well, and who decides it:
// active checks, ejection by their own answers, and a circuit breaker for each.
//
// A [Group] belongs to an upstream and outlives reloads; a [Host] belongs to an
// endpoint, and is found again by its address. Whoever sends exchanges asks
// [Host.Usable], takes a place by [Host.Begin] and says by [Host.Done] how it ended.
// While all is well these cost a few nanoseconds and take no lock.
//
// What puts an endpoint aside:
//
//	unhealthy  active checks failed ([Check]), until enough of them succeed
//	ejected    exchanges failed ([Eject]), for a time that grows
//	open       its breaker is open ([Breaker]): nothing is let through
//	half_open  after ejected and open: a few exchanges try
//
// If the share of usable endpoints falls below [Settings.Panic], those that are
// unhealthy or ejected are asked nevertheless: better a few answers than none, and
// checks may be wrong. A breaker is not overridden.
//
// What is a client's fault never counts, nor what the gateway itself gave up, nor a 429,
// nor a 503 with a Retry-After: an agent that says in order when to come back is well.
// Whoever calls [Host.Done] must keep to that.
package health

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Settings are what a [Group] is made of. What is nil is not done.
type Settings struct {
	Check   *Check
	Eject   *Eject
	Breaker *Breaker
	Panic   Share // below this share of usable endpoints all are asked; 0: never

	Log *slog.Logger // is told of every change of a state

	// How connections for checks are made.
	Protocol string      // "auto", "h1", "h2" or "h2c", as of a link of the pool
	Host     string      // which host is asked for; empty is that of the address
	TLS      *tls.Config // for https; nil means TLS 1.2 or newer, the system's authorities

	// Random yields numbers in [0, 1) for the jitter; nil means those of math/rand.
	Random func() float64
}

// maxAbsent bounds the hosts that nobody uses and that are remembered, in case they come
// back; keptFor how long.
const (
	maxAbsent = 256
	keptFor   = 10 * time.Minute
)

// A Group is the hosts of one upstream. Its methods may be called by many goroutines at
// once. It must be closed.
type Group struct {
	s              Settings
	eject, breaker *rule
	counts         bool // somebody asks how many exchanges ended

	ctx    context.Context //nolint:containedctx // that of its own goroutines, which end with it
	cancel context.CancelFunc
	all    sync.WaitGroup
	wake   chan struct{} // has room for one: something is due earlier than it was

	mu      sync.Mutex
	hosts   map[string]*Host
	present int // hosts that somebody uses
	panics  bool
	slid    time.Time // when the windows began their last part
	started bool
	closed  bool
	report  report
}

// New returns a group without hosts.
func New(s Settings) *Group {
	if s.Random == nil {
		s.Random = rand.Float64
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	g := &Group{s: s, hosts: map[string]*Host{}, wake: make(chan struct{}, 1), slid: time.Now()}
	if e := s.Eject; e != nil {
		g.eject = &rule{on: e.On, errors: e.Errors, of: e.Of, halfOpen: e.HalfOpen, rest: e.For, maxRest: e.MaxFor}
		if e.MaxFor == 0 {
			g.eject.maxRest = max(5*time.Minute, e.For)
		}
		g.counts = e.Of > 0 || g.windows()
	}
	if b := s.Breaker; b != nil {
		g.breaker = &rule{on: b.On, errors: b.Errors, of: b.Of, halfOpen: b.HalfOpen, rest: b.For, maxRest: b.For}
		g.counts = g.counts || b.Of > 0
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if g.eject != nil || g.breaker != nil {
		g.all.Go(g.keep)
	}
	return g
}

// windows reports whether exchanges are counted over time.
func (g *Group) windows() bool {
	return g.s.Eject != nil && (g.s.Eject.Rate > 0 || g.s.Eject.Latency > 0)
}

// Close ends the checks and everything else that g does by itself, and waits for it.
func (g *Group) Close() error {
	g.mu.Lock()
	g.closed = true
	g.cancel()
	g.mu.Unlock()
	g.all.Wait()
	return nil
}

// Start begins the checks. Until then nobody is asked, so that a configuration can be
// built without being used.
func (g *Group) Start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.started || g.closed || g.s.Check == nil {
		return
	}
	g.started = true
	for _, h := range g.hosts {
		if h.users > 0 {
			g.ask(h)
		}
	}
}

// Use returns the host at address, which is a scheme, host and port. It is checked from
// [Group.Start] or then on, until as many [Group.Leave] as Use have been called for it. Within some
// minutes a host that comes back is what it was.
func (g *Group) Use(address string) *Host {
	g.mu.Lock()
	defer g.unlock()
	now := time.Now()
	h := g.hosts[address]
	if h == nil {
		h = &Host{group: g, address: address}
		h.eject.rule, h.breaker.rule = g.eject, g.breaker
		if c := g.s.Check; c != nil && c.Initial == StateUnhealthy {
			h.bad, h.reason = true, "not checked yet"
		}
		g.hosts[address] = h
	}
	h.users++
	if h.users > 1 {
		return h
	}
	h.left = time.Time{}
	g.present++
	if g.s.Check != nil && g.started && !g.closed {
		g.ask(h)
	}
	g.spare(now)
	g.refresh(h, now)
	return h
}

// Leave says that h is not used any more by one who called [Group.Use].
func (g *Group) Leave(h *Host) {
	g.mu.Lock()
	defer g.unlock()
	if h.users--; h.users > 0 {
		return
	}
	now := time.Now()
	h.left = now
	g.present--
	if h.asking != nil {
		h.asking.cancel()
	}
	g.forget(now)
	g.spare(now)
	g.refresh(h, now)
}

// forget drops hosts that left long ago, or first if there are too many.
func (g *Group) forget(now time.Time) {
	absent := 0
	var first *Host
	for a, h := range g.hosts {
		if h.users > 0 {
			continue
		}
		if now.Sub(h.left) > keptFor {
			delete(g.hosts, a)
			continue
		}
		absent++
		if first == nil || h.left.Before(first.left) {
			first = h
		}
	}
	if absent > maxAbsent {
		delete(g.hosts, first.address)
	}
}

// Panic reports whether so few endpoints are usable that all are asked nevertheless.
func (g *Group) Panic() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.panics
}

// RetryAfter is when the first of the hosts that are put aside may be asked again: a
// second at least.
func (g *Group) RetryAfter() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, first := time.Now(), time.Duration(0)
	for _, h := range g.hosts {
		if h.users == 0 {
			continue
		}
		if d := g.aside(h, now); first == 0 || d < first {
			first = d
		}
	}
	return max(first, time.Second)
}

// aside is how long h stays put aside, as far as is known.
func (g *Group) aside(h *Host, now time.Time) time.Duration {
	d := time.Second
	for _, c := range h.circuits() {
		if c.phase == open {
			d = max(d, c.until.Sub(now))
		}
	}
	if h.bad && g.s.Check != nil {
		d = max(d, g.s.Check.Interval)
	}
	return d
}

// refresh brings everything in line after something about h has changed. It is called
// with the mutex held, like all that follows.
func (g *Group) refresh(h *Host, now time.Time) {
	usable, out := 0, false
	for _, o := range g.hosts {
		if o.users == 0 {
			continue
		}
		if o.usable() {
			usable++
		}
		out = out || o.out()
	}
	panics := out && float64(usable) < float64(g.s.Panic)*float64(g.present)
	if panics == g.panics {
		h.settle(now)
		return
	}
	g.panics = panics
	h.settle(now)
	for _, o := range g.hosts {
		o.gate()
	}
	g.changedPanic(usable)
}

// result notes how an exchange ended that was no plain success.
func (g *Group) result(h *Host, t Ticket, r Result) {
	g.mu.Lock()
	defer g.unlock()
	if t.epoch() != Ticket(h.word.Load()).epoch() {
		return // it began before what has happened since
	}
	now := time.Now()
	if t.gate() != gateOpen {
		g.tried(h, t, r, now)
	}
	if t.Trial() {
		return
	}
	n := h.ended.Add(1)
	for _, c := range h.circuits() {
		if c.rule == nil || c.phase != closed {
			continue
		}
		switch judge(c.rule.on, r) {
		case neutral:
		case good:
			c.streak.Store(0)
		case bad:
			g.failed(h, c, n, r, now)
		}
	}
}

// failed counts a failure for one of the circuits of h.
func (g *Group) failed(h *Host, c *circuit, n uint64, r Result, now time.Time) {
	why := c.failed(n, r)
	if c == &h.eject && g.s.Eject.Rate > 0 {
		h.window.failed[h.window.at]++
		why = g.rated(h, r, why)
	}
	if why != "" && (c != &h.eject || g.mayEject()) {
		g.open(h, c, now, why)
	}
}

// tried counts the result of a trial.
func (g *Group) tried(h *Host, t Ticket, r Result, now time.Time) {
	turned, told := false, false
	for _, c := range h.circuits() {
		if c.rule == nil {
			continue
		}
		v := judge(c.rule.on, r)
		told = told || v != neutral
		turned = c.tried(v, now, r) || turned
	}
	switch {
	case !told && t.Trial():
		h.giveBack(t)
	case turned:
		h.window.forget(h.ended.Load())
		g.turned(h, now)
	}
}

// open puts h aside.
func (g *Group) open(h *Host, c *circuit, now time.Time, why string) {
	c.open(now, why)
	g.turned(h, now)
}

// turned is called when a circuit of h has come into another phase.
func (g *Group) turned(h *Host, now time.Time) {
	h.turn()
	g.refresh(h, now)
	select {
	case g.wake <- struct{}{}:
	default: // it is awake already
	}
}
