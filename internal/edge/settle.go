package edge

import (
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A stage is where a connection stands in serving requests, one after the other.
type stage uint32

const (
	fresh   stage = iota // nothing has come on it
	idle                 // a request was answered, and nothing has come since
	engaged              // bytes have come, but no whole head of a request
	busy                 // a request is served
	ended                // we have closed it, or are about to
)

// A progress is a stage, and how often it changed.
type progress struct{ v atomic.Uint32 }

const stageBits = 3

func (p *progress) load() (s stage, turn uint32) {
	v := p.v.Load()
	return stage(v & (1<<stageBits - 1)), v
}

// enter changes the stage, unless it is the last.
func (p *progress) enter(s stage) {
	for {
		now, turn := p.load()
		if now == ended || p.leave(turn, s) {
			return
		}
	}
}

// leave changes the stage if nothing else has since turn was loaded.
func (p *progress) leave(turn uint32, s stage) bool {
	return p.v.CompareAndSwap(turn, (turn>>stageBits+1)<<stageBits|uint32(s))
}

// came notes that bytes were read, and reports whether they may be served: not if
// the connection was given up at this very moment.
func (p *progress) came() bool {
	for {
		now, turn := p.load()
		switch now {
		case busy:
			return true
		case ended:
			return false
		case fresh, idle, engaged: // again for each piece, so that one can see that there is progress
			if p.leave(turn, engaged) {
				return true
			}
		}
	}
}

// connections are those that were accepted and not closed or taken over. When the
// server is about to stop, they are asked where they stand.
type connections struct {
	count census // of those that engines serve

	mu   sync.Mutex
	open map[*conn]net.Conn // to what the engine sees
}

func (s *connections) add(c *conn, nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*conn]net.Conn{}
	}
	s.open[c] = nc
}

func (s *connections) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

func (s *connections) all() map[*conn]net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.open)
}

// gone returns a channel that is closed when no engine serves a connection.
func (s *connections) gone() <-chan struct{} { return s.count.gone() }

// change notes what an engine says of a connection. An engine must say
// [http.StateActive] before it hands a request on, and [http.StateIdle] when it has
// been answered and no part of another one has been read: settle would else wait for
// it, or end what is under way. Our own for HTTP/1.1 settles by itself: see ours.
func (s *connections) change(nc net.Conn, state http.ConnState) {
	c := base(nc)
	switch {
	case c == nil:
	case state == http.StateActive:
		c.classify(nc)
		c.enter(busy)
	case state == http.StateIdle:
		c.enter(idle)
	case state == http.StateHijacked:
		s.remove(c)
	}
	if state != http.StateActive && state != http.StateIdle {
		s.count.change(nc, state)
	}
}

// A layer is a connection that stands on another, as those of TLS do.
type layer interface{ NetConn() net.Conn }

// base is the connection under what an engine sees.
func base(nc net.Conn) *conn {
	for {
		switch c := nc.(type) {
		case *conn:
			return c
		case *proxied:
			return c.conn
		case layer:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}

// classify finds out whether a connection speaks HTTP/2, when its engine has first
// understood something. In the clear, whoever read its first bytes knows already.
func (c *conn) classify(nc net.Conn) {
	if c.spoke.Load() {
		return
	}
	c.spoke.Store(true)
	for {
		if t, ok := nc.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
			c.h2.Store(true)
		}
		l, ok := nc.(layer)
		if !ok {
			return
		}
		nc = l.NetConn()
	}
}

// How patient settle is.
const (
	// patience is how long a connection may bring nothing before it is given up: a new
	// one, or one whose TLS handshake has paused.
	patience = 500 * time.Millisecond
	// underWay is how long after its head was read a request is surely in the hands of
	// its handler: net/http drops those that are not when it is shut down.
	underWay = 50 * time.Millisecond
)

// settle ends the connections on which nothing is under way, and waits for those
// where a request is about to begin, until each is in the hands of its handler, or
// answered. Those of HTTP/2 are left alone: their engine tells their clients which
// requests it takes. It comes after the last connection was accepted, and before the
// engines are shut down: net/http's would close idle connections without a look at
// what has arrived on them, and drop the requests that it is about to read.
func (s *connections) settle(ctx context.Context) {
	var closing sync.WaitGroup
	defer closing.Wait()
	seen := map[*conn]sight{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		unsettled := 0
		for c, nc := range s.all() {
			v := look(c, seen)
			if v.over(c, nc) && c.leave(v.turn, ended) {
				closing.Go(func() { _ = nc.Close() })
			} else if !v.settled(c) {
				unsettled++
			}
		}
		if unsettled == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// A sight is what settle saw of a connection, and for how long it has been so.
type sight struct {
	stage
	turn  uint32
	since time.Time
	age   time.Duration
}

// look returns what c is like now, and keeps it in seen.
func look(c *conn, seen map[*conn]sight) sight {
	now := time.Now()
	v, ok := seen[c]
	if st, turn := c.load(); !ok || v.turn != turn {
		v = sight{stage: st, turn: turn, since: now}
	}
	v.age = now.Sub(v.since)
	seen[c] = v
	return v
}

// over reports whether c brings no request that would have to be served.
func (v sight) over(c *conn, nc net.Conn) bool {
	if c.h2.Load() {
		return false
	}
	_, encrypted := nc.(*tls.Conn)
	switch v.stage {
	case idle:
		return !c.waiting()
	case fresh:
		return v.age >= patience && !c.waiting()
	case engaged: // in the clear these are bytes of a request, and the engine bounds their time
		return encrypted && v.age >= patience && !c.waiting()
	case busy, ended:
	}
	return false
}

// settled reports whether the engine of c can be shut down without harm to c.
func (v sight) settled(c *conn) bool {
	return c.h2.Load() || v.stage == ended || v.stage == busy && v.age >= underWay
}

// waiting reports whether bytes have arrived that nobody has read.
func (c *conn) waiting() bool {
	sc, ok := c.Conn.(syscall.Conn)
	return ok && waiting(sc)
}
